"""Pictures to send."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def picture(seed: int = 0, *, size: tuple[int, int] = (32, 32), kind: str = "PNG") -> bytes:
    """Encoded noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind)
    return buffer.getvalue()


def size_of(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        return image.size
