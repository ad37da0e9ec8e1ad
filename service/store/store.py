"""The model store as the service reads it: verified versions, and which one is served."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from service.contract import (
    CURRENT_FILE,
    MANIFEST_FILE,
    Manifest,
    check_name,
    decode_manifest,
    digest_file,
)
from service.errors import ContractError, StoreAwayError
from service.store.audit import Audit
from service.store.folder import FolderHome
from service.store.home import Blob, Home
from service.store.mirror import Mirror
from service.store.signature import SIGNATURE_FILE, Verifier

_CURRENT_TEXT = re.compile(r"([^\n]*)\n?")


def open_home(location: str | Path, *, cache_dir: Path | None = None, poll_s: float = 10.0) -> Home:
    """The home at a folder's path or at `s3://bucket/prefix`.

    Args:
        location: of the store.
        cache_dir: where copies of a bucket's versions are kept; None is `$XDG_CACHE_HOME/triptych`.
        poll_s: how often a bucket is asked for news.

    Raises:
        SettingsError: a location of neither form.

    """
    text = str(location)
    if "://" not in text:
        return FolderHome(Path(text))
    # Here, not above: who serves from a folder needs none of its 15 MB.
    from service.store.bucket import BucketHome  # noqa: PLC0415

    root = cache_dir or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "triptych"
    return BucketHome(text, Mirror(root.expanduser() / "store", text), poll_s=poll_s)


class Store:
    """Models in a home, by name and version. Reads only; `Publisher` writes.

    Args:
        home: or the location of one.
        verifier: demands a signature of every version that is loaded; None demands none.

    """

    def __init__(self, home: Home | Path | str, *, verifier: Verifier | None = None) -> None:
        self.home = home if isinstance(home, Home) else open_home(home)
        self._verifier = verifier

    def names(self) -> list[str]:
        """Models that have a current version; raises ContractError if there is no such store."""
        names = self.home.names()
        if names is None:
            raise ContractError(self.home.missing)
        return names

    def current(self, name: str) -> str:
        """The version that CURRENT names; raises ContractError if it names none."""
        return self.current_blob(name)[0]

    def current_blob(self, name: str) -> tuple[str, Blob]:
        """As `current`, with what was read, to replace it by."""
        where = f"{self.home.location}/{name}/{CURRENT_FILE}"
        blob = self.home.read(f"{name}/{CURRENT_FILE}")
        if blob is None:
            raise ContractError(f"{where} cannot be read: it is not there")
        try:
            match = _CURRENT_TEXT.fullmatch(blob.content.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise ContractError(f"{where} cannot be read: {error}") from error
        if match is None:
            raise ContractError(f"{where} must hold one line, the version's name")
        return check_name(match[1], f"{where}:"), blob

    def remembered(self) -> dict[str, str]:
        """What was served last, of models whose files this machine holds."""
        return self.home.remembered()

    def versions(self, name: str) -> list[str]:
        """The published versions of a model, oldest first."""
        return sorted(self.home.versions(check_name(name)), key=lambda v: self._age(name, v))

    def _age(self, name: str, version: str) -> tuple[str, str]:
        """A version without a readable manifest counts as the oldest."""
        try:
            return self.manifest(name, version).created_at, version
        except StoreAwayError:
            raise
        except ContractError:
            return "", version

    def fallbacks(self, name: str, broken: str) -> list[str]:
        """Versions to serve instead of a current one that is broken, the likeliest first: those
        that were served before, then the newest.
        """
        there = [version for version in self.versions(name) if version != broken]
        try:
            served = [entry.before for entry in reversed(Audit(self.home, name).entries())]
        except ContractError:  # a damaged log keeps nobody from serving
            served = []
        ordered = [version for version in served if version in there] + there[::-1]
        return list(dict.fromkeys(ordered))

    def folder(self, name: str, version: str) -> Path:
        """A folder of this machine with the version's files."""
        return self.home.folder(check_name(name), check_name(version, "version"))

    def manifest(self, name: str, version: str) -> Manifest:
        """The manifest alone, its files unseen; raises ContractError as `verified`."""
        key = f"{check_name(name)}/{check_name(version, 'version')}/{MANIFEST_FILE}"
        blob = self.home.read(key)
        where = f"{self.home.location}/{key}"
        if blob is None:
            raise ContractError(f"{where} cannot be read: it is not there")
        return _of(decode_manifest(blob.content, where=where), name, version, where)

    def verified(self, name: str, version: str) -> Manifest:
        """Read the manifest and compare every file with its size and hash.

        A copy of this machine's that turns out damaged is fetched anew, once.

        Raises:
            ContractError: the manifest is missing or malformed, names another model or version,
                is not signed as demanded, or a file is missing or differs.

        """
        try:
            return self._verify(name, version)
        except StoreAwayError:
            raise
        except ContractError:
            if not self.home.refetch(name, version):
                raise
            return self._verify(name, version)

    def _verify(self, name: str, version: str) -> Manifest:
        folder = self.folder(name, version)
        path = folder / MANIFEST_FILE
        raw = _read(path)
        manifest = _of(decode_manifest(raw, where=str(path)), name, version, str(path))
        if self._verifier is not None:
            signature = folder / SIGNATURE_FILE
            signed = signature.read_bytes() if signature.is_file() else None
            self._verifier.check(raw, signed, f"{name} {version}")
        check_files(manifest, folder, error=ContractError)
        return manifest

    async def changes(self) -> AsyncIterator[set[str]]:
        """Yield the names of models whose CURRENT or TRIAL was replaced, as it happens."""
        async for names in self.home.changes():
            yield names


def check_files(manifest: Manifest, folder: Path, *, error: Callable[[str], Exception]) -> None:
    """Raise `error` unless every file in the folder is the one that the manifest lists."""
    for file, expected in manifest.files.items():
        try:
            found = digest_file(folder / file)
        except OSError as problem:
            raise error(f"{folder / file} cannot be read: {problem}") from problem
        if found != expected:
            raise error(
                f"{folder / file} is not the file that was published: "
                f"{found.bytes} bytes, sha256 {found.sha256[:12]}...; "
                f"manifest says {expected.bytes} bytes, {expected.sha256[:12]}..."
            )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ContractError(f"{path} cannot be read: {error}") from error


def _of(manifest: Manifest, name: str, version: str, where: str) -> Manifest:
    if (manifest.name, manifest.version) != (name, version):
        raise ContractError(
            f"{where} is of {manifest.name} {manifest.version}, not of {name} {version}"
        )
    return manifest
