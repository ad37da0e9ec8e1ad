"""Data that nobody owns: made up in a moment, always the same."""

from __future__ import annotations

import random
import string
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def write_images(folder: Path, *, train: int = 8, test: int = 4) -> Path:
    """A folder of 16x16 images, a colour and some noise for each class."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for index, name in enumerate(CLASSES):
            colour = np.array([index * 25, 255 - index * 25, (index * 77) % 256])
            place = folder / split / name
            place.mkdir(parents=True)
            for number in range(count):
                pixels = colour + rng.normal(0, 40, (16, 16, 3))
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(place / f"{number}.png")
    return folder


def write_text(path: Path, *, sentences: int = 150) -> Path:
    """Sentences of made-up words, in an alphabet of all printable ASCII."""
    draw = random.Random(0)
    words = ["".join(draw.choices(string.ascii_lowercase, k=draw.randint(2, 6))) for _ in range(30)]
    lines = [" ".join(draw.choices(words, k=6)).capitalize() + "." for _ in range(sentences)]
    alphabet = "".join(chr(code) for code in range(32, 127))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([alphabet, *lines]) + "\n", encoding="utf-8")
    return path
