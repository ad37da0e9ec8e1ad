"""Pictures to classify: they decode like small photographs."""

from __future__ import annotations

import colorsys
import io
import random

from PIL import Image, ImageDraw

PICTURE_SIZE_PX = 96


def draw_picture(seed: int) -> bytes:
    """A JPEG of some ellipses on a coloured ground."""
    rng = random.Random(seed)

    def colour() -> tuple[int, int, int]:
        red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.random(), rng.random())
        return round(red * 255), round(green * 255), round(blue * 255)

    image = Image.new("RGB", (PICTURE_SIZE_PX, PICTURE_SIZE_PX), colour())
    draw = ImageDraw.Draw(image)
    for _ in range(8):
        left, top = rng.randrange(PICTURE_SIZE_PX), rng.randrange(PICTURE_SIZE_PX)
        size = rng.randrange(8, PICTURE_SIZE_PX)
        draw.ellipse((left, top, left + size, top + size), fill=colour())
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()
