"""A copy of labelled data that lie in a folder, or under a prefix of an object store.

What is dropped there goes on growing while a model is trained; a run reads its own copy.
"""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath

from training.data.folder import list_files
from training.errors import ConfigError, DataError


def source_name(source: str) -> str:
    """The last part of a folder's path, or of a prefix: what records call it."""
    if is_address(source):
        return PurePosixPath(source.partition("://")[2]).name
    return Path(source).expanduser().resolve().name


def is_address(source: str) -> bool:
    """Whether that is an object store's: `s3://bucket/prefix`."""
    return "://" in source


def gather(source: str, into: Path) -> Path:
    """Copy a folder, or what lies under a prefix, to `into / <its name>`; returns that folder.

    Hidden files are left out. Credentials of object stores come from their usual environment
    variables (`AWS_ACCESS_KEY_ID` and so on).

    Raises DataError if there is nothing to be had.
    """
    target = into / source_name(source)
    if is_address(source):
        _fetch(source, target)
    else:
        folder = Path(source).expanduser()
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder; new data lie in one, as files")
        for name in list_files(folder):
            copy = target / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(folder / name, copy)
            except OSError as error:
                raise DataError(f"{folder / name} cannot be read: {error.strerror}") from error
    if not target.exists():
        raise DataError(f"{source} is empty; there is nothing to train on")
    return target


def _fetch(source: str, target: Path) -> None:
    try:
        from obstore.store import from_url  # noqa: PLC0415 - for addresses alone
    except ImportError as error:
        raise ConfigError(
            f"{source}: addresses need obstore (pip install obstore)", field="new_data"
        ) from error
    try:
        store = from_url(source)
        for batch in store.list():
            for entry in batch:
                name = PurePosixPath(entry["path"])
                if ".." in name.parts or any(part.startswith(".") for part in name.parts):
                    continue
                copy = target / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(store.get(entry["path"]).bytes())
    except Exception as error:  # each store has errors of its own
        raise DataError(f"{source} cannot be read: {error}") from error
