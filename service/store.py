"""The model store as the service reads it: a folder of published models."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

from watchfiles import Change, awatch

from service.contract import (
    CURRENT_FILE,
    MANIFEST_FILE,
    Manifest,
    check_name,
    decode_manifest,
    digest_file,
)
from service.errors import ContractError

_CURRENT_TEXT = re.compile(r"([^\n]*)\n?")


class Store:
    """Models under `root`, by name and version. Reads only."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        """Models that have a current version; raises ContractError if there is no folder."""
        if not self.root.is_dir():
            raise ContractError(
                f"there is no model store at {self.root.absolute()}; set TRIPTYCH_STORE to a "
                "folder of published models"
            )
        return sorted(path.parent.name for path in self.root.glob(f"*/{CURRENT_FILE}"))

    def current(self, name: str) -> str:
        """The version that CURRENT names; raises ContractError if it names none."""
        path = self.root / name / CURRENT_FILE
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ContractError(f"{path} cannot be read: {error}") from error
        match = _CURRENT_TEXT.fullmatch(text)
        if match is None:
            raise ContractError(f"{path} must hold one line, the version's name")
        return check_name(match[1], f"{path}:")

    def folder(self, name: str, version: str) -> Path:
        """Where a version lies."""
        return self.root / check_name(name) / check_name(version, "version")

    def verified(self, name: str, version: str) -> Manifest:
        """Read the manifest and compare every file with its size and hash.

        Raises:
            ContractError: the manifest is missing or malformed, names another model or version,
                or a file is missing or differs.

        """
        folder = self.folder(name, version)
        path = folder / MANIFEST_FILE
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise ContractError(f"{path} cannot be read: {error}") from error
        manifest = decode_manifest(raw, where=str(path))
        if (manifest.name, manifest.version) != (name, version):
            raise ContractError(
                f"{path} is of {manifest.name} {manifest.version}, not of {name} {version}"
            )
        for file, expected in manifest.files.items():
            try:
                found = digest_file(folder / file)
            except OSError as error:
                raise ContractError(f"{folder / file} cannot be read: {error}") from error
            if found != expected:
                raise ContractError(
                    f"{folder / file} is not the file that was published: "
                    f"{found.bytes} bytes, sha256 {found.sha256[:12]}...; "
                    f"manifest says {expected.bytes} bytes, {expected.sha256[:12]}..."
                )
        return manifest

    async def changes(self) -> AsyncIterator[set[str]]:
        """Yield the names of models whose CURRENT was replaced, as it happens."""

        def is_current(change: Change, path: str) -> bool:
            return change is not Change.deleted and Path(path).name == CURRENT_FILE

        async for changed in awatch(self.root, watch_filter=is_current, step=50, debounce=200):
            yield {Path(path).parent.name for _, path in changed}
