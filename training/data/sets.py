"""What loaded image data are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.contract import DataRecord


@dataclass(frozen=True)
class ImageSet:
    """Images with their classes: one split of a data set."""

    images: NDArray[np.uint8]
    """[N, H, W, 3], RGB, 0 to 255."""
    labels: NDArray[np.int64]
    """[N], indices into the data set's `classes`."""


@dataclass(frozen=True)
class ImageData:
    """A labelled image data set, decoded."""

    name: str
    source: str
    sha256: str
    """Of the archive; of a folder, over its `sha256sum`-like listing sorted by path."""
    classes: tuple[str, ...]
    train: ImageSet
    test: ImageSet
    license: str = ""
    """What is known of the terms of use; empty for data that users bring."""
    original_sizes: NDArray[np.int32] | None = None
    """[N, 2]: width and height in pixels before fitting, training images first, then test."""
    parts: tuple[DataRecord, ...] = ()
    """What these were joined of: a data set, then what was added to its training split."""
