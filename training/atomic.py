"""Files written whole or not at all: a crash or a full disk leaves what was there before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` at the end, flushed to disk, in one step.

    Its folder is made if it is not there. After an error the old file stays; raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Hidden, and one name for all processes: what a killed one left behind is overwritten.
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


def write(path: Path, content: bytes) -> None:
    """Replace the content of `path`; see `replacing`."""
    with replacing(path) as file:
        file.write(content)


def _sync(folder: Path) -> None:
    """A rename lasts once its folder is on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
