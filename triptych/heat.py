"""A heatmap over the image that it explains, as a PNG; needs Pillow."""

from __future__ import annotations

import io
from collections.abc import Sequence

_SMALLEST = 256
"""Smaller images are enlarged, pixel by pixel, for there would be little to see."""
_STRONGEST = 0.6


def overlay(image: bytes, heatmap: Sequence[Sequence[float]]) -> bytes:
    """Lay red over the centre square of an image, as much as a heatmap [h][w] in 0..1 says."""
    from PIL import Image, ImageOps  # noqa: PLC0415  # a command that draws nothing starts faster

    with Image.open(io.BytesIO(image)) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    side = min(picture.size)
    picture = ImageOps.fit(picture, (side, side))
    if side < _SMALLEST:
        side *= -(-_SMALLEST // side)
        picture = picture.resize((side, side), Image.Resampling.NEAREST)
    levels = bytes(round(255 * _STRONGEST * value) for row in heatmap for value in row)
    mask = Image.frombytes("L", (len(heatmap[0]), len(heatmap)), levels)
    mask = mask.resize((side, side), Image.Resampling.BILINEAR)
    red = Image.new("RGB", (side, side), (255, 0, 0))
    buffer = io.BytesIO()
    Image.composite(red, picture, mask).save(buffer, format="PNG")
    return buffer.getvalue()
