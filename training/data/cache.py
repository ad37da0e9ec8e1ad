"""Decoded images, kept so that the second load takes a moment."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_FORMAT = 1  # raise when what is stored, or the rule by which it was decoded, changes


@dataclass(frozen=True)
class Decoded:
    """Every image of a source: the training images first, then the test images."""

    images: NDArray[np.uint8]
    """[N, size, size, 3]"""
    labels: NDArray[np.int64]
    """[N]"""
    original_sizes: NDArray[np.int32]
    """[N, 2]: width, height"""
    classes: tuple[str, ...]
    sha256: str
    training_images: int
    """How many of the N are for training."""
    is_cifar: bool
    """Whether these are CIFAR-10's own images."""


def cache_path(cache_dir: Path, fingerprint: str, size: int) -> Path:
    """Where the images of a source with this fingerprint lie, decoded to `size`."""
    key = hashlib.sha256(f"{_FORMAT} {size} {fingerprint}".encode()).hexdigest()[:24]
    return cache_dir / f"images-{key}.npz"


def read_cache(path: Path) -> Decoded | None:
    """What is cached there; None if nothing is, or it is damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            head = json.loads(stored["head"].tobytes())
            return Decoded(
                images=stored["images"],
                labels=stored["labels"],
                original_sizes=stored["original_sizes"],
                classes=tuple(head["classes"]),
                sha256=head["sha256"],
                training_images=head["training_images"],
                is_cifar=head["is_cifar"],
            )
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def write_cache(path: Path, decoded: Decoded) -> None:
    """Store atomically: a reader finds the whole of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = {
        "classes": decoded.classes,
        "sha256": decoded.sha256,
        "training_images": decoded.training_images,
        "is_cifar": decoded.is_cifar,
    }
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            np.savez(
                file,
                images=decoded.images,
                labels=decoded.labels,
                original_sizes=decoded.original_sizes,
                head=np.frombuffer(json.dumps(head).encode(), np.uint8),
            )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
