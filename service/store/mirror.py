"""Copies, on this machine, of versions that live in a bucket.

A copy is made in a hidden folder and renamed into place, so that workers which share the mirror
see whole ones. What CURRENT said last is kept as well: with it a service starts while its store is
away.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.contract import CURRENT_FILE, MANIFEST_FILE
from service.store.home import content_tag

KEEP_COPIES = 3  # per model: the served one, one on trial, and the one before


class Mirror:
    """Copies under `root`, those of one home in a folder of their own."""

    def __init__(self, root: Path, location: str) -> None:
        self._root = root / content_tag(location.encode())[:16]

    def find(self, name: str, version: str) -> Path | None:
        """A copy's folder; None if there is none."""
        folder = self.place(name, version)
        return folder if (folder / MANIFEST_FILE).is_file() else None

    def place(self, name: str, version: str) -> Path:
        """Where a copy lies, or would."""
        return self._root / name / version

    @contextmanager
    def filling(self, name: str, version: str) -> Iterator[Path]:
        """A folder to fill; the copy is there afterwards, unless the block raises."""
        target = self.place(name, version)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.parent / f".{secrets.token_hex(8)}"
        partial.mkdir()
        try:
            yield partial
            if any(partial.iterdir()):
                with contextlib.suppress(OSError):  # another worker was quicker with the same
                    partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        self._evict(name, keep=version)

    def forget(self, name: str, version: str) -> None:
        """Remove a copy; files that are open stay readable."""
        shutil.rmtree(self.place(name, version), ignore_errors=True)

    def _evict(self, name: str, *, keep: str) -> None:
        """Remove the copies fetched longest ago."""
        folder = self._root / name
        copies = [one for one in folder.iterdir() if one.is_dir() and not one.name.startswith(".")]
        served = self.remembered().get(name)
        for copy in sorted(copies, key=lambda one: one.stat().st_mtime_ns)[:-KEEP_COPIES]:
            if copy.name not in (keep, served):
                self.forget(name, copy.name)

    def remember(self, key: str, content: bytes) -> None:
        """Keep what a model's CURRENT says."""
        name, _, file = key.rpartition("/")
        path = self._root / name / CURRENT_FILE
        if file != CURRENT_FILE or (path.exists() and path.read_bytes() == content):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.parent / f".{secrets.token_hex(8)}"
        partial.write_bytes(content)
        partial.replace(path)

    def remembered(self) -> dict[str, str]:
        """The version that CURRENT named last, of models whose copy of it is here."""
        found = {}
        for path in self._root.glob(f"*/{CURRENT_FILE}"):
            name, version = path.parent.name, path.read_text("utf-8").strip()
            if self.find(name, version) is not None:
                found[name] = version
        return found
