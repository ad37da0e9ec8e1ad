"""The files that a command line names, and what stdin holds."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"}
)
"""Of the files of a folder that are taken for images."""


class UsageError(Exception):
    """The command line asks for what cannot be."""


class ImageFile(NamedTuple):
    """An image and what it is called."""

    name: str
    content: Path | bytes

    def read(self) -> bytes:
        """Its bytes."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


def image_files(words: Sequence[str]) -> list[ImageFile]:
    """Files as they are named, `-` for stdin, folders by their images, and patterns.

    Raises UsageError for a word that names nothing, and for stdin named twice.
    """
    if words.count("-") > 1:
        raise UsageError("stdin (-) can be read once")
    return [found for word in words for found in _files(word)]


def _files(word: str) -> Iterator[ImageFile]:
    if word == "-":
        yield ImageFile("-", sys.stdin.buffer.read())
        return
    path = Path(word)
    if path.is_dir():
        found = sorted(one for one in path.rglob("*") if one.suffix.lower() in SUFFIXES)
        if not found:
            raise UsageError(f"{word}: no images in this folder")
    elif path.exists():
        found = [path]
    else:
        found = sorted(map(Path, glob.glob(word, recursive=True)))  # noqa: PTH207 - absolute ones too
        if not found:
            raise UsageError(f"{word}: no such file")
    # A name may be any bytes, but JSON is UTF-8.
    yield from (ImageFile(os.fsencode(one).decode(errors="replace"), one) for one in found)


def prompt_of(word: str | None) -> str:
    """A prompt: the word itself, or stdin; raises UsageError if that is a terminal or no text."""
    if word not in (None, "-"):
        return word
    if word is None and sys.stdin.isatty():
        raise UsageError("what is to be continued? give --prompt, or a text on stdin")
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise UsageError(f"stdin is not UTF-8: {error.reason}") from error
