"""Checksums of sources, and a cheap fingerprint that tells whether a source has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
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


def fingerprint(source: Path, names: Iterable[str]) -> str:
    """Digest that changes when the source does.

    A single file is hashed whole. A folder is taken by its files' paths, sizes and times of
    change, for reading 60,000 small files takes longer than using what was decoded from them.
    """
    if source.is_file():
        return hash_file(source)
    seen = hashlib.sha256(str(source.resolve()).encode())
    for name in sorted(names):
        stat = (source / name).stat()
        seen.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return seen.hexdigest()
