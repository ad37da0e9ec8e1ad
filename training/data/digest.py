"""Checksums of sources, and a cheap fingerprint that tells whether a source has changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """Hexadecimal hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def hash_bytes(content: bytes) -> str:
    """SHA-256 of bytes in memory, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def hash_listing(files: Iterable[tuple[str, str]]) -> str:
    """SHA-256 over (path, sha256 of content) pairs, as `sha256sum` would list them, sorted."""
    lines = sorted(f"{sha256}  {name}\n" for name, sha256 in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def fingerprint(source: Path) -> str:
    """Digest that changes when the source does.

    A single file is hashed whole. A folder is taken by its files' paths, sizes and times of
    change, for reading 60,000 small files takes longer than using what was decoded from them.
    """
    if source.is_file():
        return hash_file(source)
    seen = hashlib.sha256(str(source.resolve()).encode())
    for name, size, mtime_ns in sorted(_walk(source)):
        seen.update(f"{name}\0{size}\0{mtime_ns}\n".encode())
    return seen.hexdigest()


def _walk(folder: Path | str) -> Iterator[tuple[str, int, int]]:
    # os.scandir and plain strings: four times as fast as pathlib on 60,000 files.
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if not entry.is_symlink():
                    yield from _walk(entry.path)
            elif entry.is_file():
                stat = entry.stat()
                yield entry.path, stat.st_size, stat.st_mtime_ns
