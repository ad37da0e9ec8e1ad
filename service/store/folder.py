"""A home of models in a local folder, or one that machines share."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from watchfiles import Change, awatch

from service.contract import CURRENT_FILE
from service.errors import ContractError, StoreConflictError
from service.store.home import ANYTHING, FOLLOWED, NOTHING, Blob, Expected, Home, content_tag

_STAGING = ".staging-"
_RETIRED = ".retired-"
_PARTIAL = ".partial-"


class FolderHome(Home):
    """Models under `root`.

    A version is copied into a hidden folder beside the others, flushed to disk, and renamed into
    place; a file is replaced by a rename. Publishers of a model lock its folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.location = str(root)
        self.missing = (
            f"there is no model store at {root.absolute()}; set TRIPTYCH_STORE to a folder of "
            "published models, or to s3://bucket/prefix"
        )

    def read(self, key: str) -> Blob | None:
        """As `Home.read`; raises ContractError if it is there and cannot be read."""
        try:
            content = (self.root / key).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ContractError(f"{self.root / key} cannot be read: {error}") from error
        return Blob(content, content_tag(content))

    def write(self, key: str, content: bytes, *, expected: str | Expected = ANYTHING) -> None:
        """As `Home.write`."""
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(self.root):  # not the model's folder: `alone` holds that, and may be us
            if expected is not ANYTHING:
                found = self.read(key)
                if (found.tag if found else NOTHING) != expected:
                    raise StoreConflictError(f"{path} was replaced in the meantime")
            partial = path.parent / f"{_PARTIAL}{secrets.token_hex(8)}"
            try:
                partial.write_bytes(content)
                _sync(partial)
                os.replace(partial, path)  # noqa: PTH105  the atomic step, by name
            finally:
                partial.unlink(missing_ok=True)
            _sync(path.parent)

    def entries(self, folder: str) -> list[str]:
        """As `Home.entries`."""
        path = self.root / folder
        if not path.is_dir():
            return []
        return sorted(one.name for one in path.iterdir() if not one.name.startswith("."))

    def clear(self, folder: str) -> None:
        """As `Home.clear`."""
        for entry in self.entries(folder):
            (self.root / folder / entry).unlink(missing_ok=True)

    def names(self) -> list[str] | None:
        """As `Home.names`."""
        if not self.root.is_dir():
            return None
        return sorted(path.parent.name for path in self.root.glob(f"*/{CURRENT_FILE}"))

    def quick_names(self) -> list[str]:
        """As `Home.quick_names`."""
        return self.names() or []

    def versions(self, name: str) -> list[str]:
        """As `Home.versions`; a folder without a manifest is one that somebody damaged."""
        path = self.root / name
        return [one for one in self.entries(name) if (path / one).is_dir()]

    def place(self, name: str, version: str, source: Path, files: Sequence[str]) -> None:
        """As `Home.place`."""
        model_dir = self.root / name
        model_dir.mkdir(parents=True, exist_ok=True)
        if (model_dir / version).exists():
            raise StoreConflictError(f"{model_dir / version} is there already")
        staging = model_dir / f"{_STAGING}{secrets.token_hex(8)}"
        try:
            staging.mkdir()
            for file in files:
                shutil.copyfile(source / file, staging / file)
                _sync(staging / file)
            _sync(staging)
            staging.rename(model_dir / version)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        _sync(model_dir)

    def folder(self, name: str, version: str) -> Path:
        """As `Home.folder`: where it lies."""
        return self.root / name / version

    def refetch(self, name: str, version: str) -> bool:
        """There is nowhere to fetch it from."""
        return False

    def remove(self, name: str, version: str) -> None:
        """As `Home.remove`."""
        hidden = self.root / name / f"{_RETIRED}{secrets.token_hex(8)}"
        (self.root / name / version).rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)

    def sweep(self, name: str, *, older_than_s: float = 0.0) -> list[str]:
        """As `Home.sweep`. Whoever holds the lock knows that no publisher is at work."""
        model_dir = self.root / name
        if not model_dir.is_dir():
            return []
        with _locked(model_dir):
            return self._clear(model_dir)

    def _clear(self, model_dir: Path) -> list[str]:
        swept = []
        for path in sorted((*model_dir.iterdir(), *model_dir.glob(f".*/{_PARTIAL}*"))):
            if path.name.startswith((_STAGING, _RETIRED)):
                shutil.rmtree(path, ignore_errors=True)
            elif path.name.startswith(_PARTIAL):
                path.unlink(missing_ok=True)
            else:
                continue
            swept.append(str(path.relative_to(self.root)))
        return swept

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """As `Home.alone`; what a publisher that died left behind is cleared."""
        model_dir = self.root / name
        model_dir.mkdir(parents=True, exist_ok=True)
        with _locked(model_dir):
            self._clear(model_dir)
            yield

    @property
    def watchable(self) -> bool:
        """A folder that is not there gives no notices."""
        return self.root.is_dir()

    async def changes(self) -> AsyncIterator[set[str]]:
        """As `Home.changes`, by the system's own notices."""

        def is_followed(change: Change, path: str) -> bool:
            return change is not Change.deleted and Path(path).name in FOLLOWED

        async for changed in awatch(self.root, watch_filter=is_followed, step=50, debounce=200):
            yield {Path(path).parent.name for _, path in changed}


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # which lets go of the lock


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
