"""A model store in seconds: the three kinds at their tiny presets, fitted on synthetic data, and
published by the real pipeline.

`python -m tests.tiny_store FOLDER` makes one by hand.
"""

from __future__ import annotations

import contextlib
import io
import random
import string
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from training.config import to_dict
from training.kinds import kinds
from training.pipeline import Options, Pipeline
from training.runs import Run, RunRecord

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LENIENT = {
    "test_accuracy": 0.0,
    "val_loss_nats": 100.0,
    "class_agreement": 0.0,
}
"""Floors that an almost untrained model meets."""


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
    path.write_text("\n".join([alphabet, *lines]) + "\n", encoding="utf-8")
    return path


def make_run(folder: Path, kind: str, data: Path, *, model: str = "") -> Run:
    """A run of the kind's tiny preset, not started."""
    record = RunRecord(
        kind=kind,
        model=model or kinds()[kind].default_model,
        preset="tiny",
        config=to_dict(kinds()[kind].presets["tiny"]),
        data=str(data),
        created_at="2026-01-01T00:00:00Z",
    )
    return Run.create(folder, record)


def build_tiny_store(folder: Path) -> None:
    """Publish `cifar10`, `shakespeare` and `cifar10-gan` in the store `folder`."""
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
        temporary = Path(name)
        images = write_images(temporary / "images")
        text = write_text(temporary / "text.txt")
        options = Options(store=folder, cache_dir=temporary / "cache")
        for kind, data in (("cnn", images), ("lstm", text), ("gan", images)):
            floors = {rule.metric: LENIENT[rule.metric] for rule in kinds()[kind].rules}
            run = make_run(temporary / kind, kind, data)
            Pipeline(run, Options(**{**vars(options), "floors": floors})).run_all()


if __name__ == "__main__":
    build_tiny_store(Path(sys.argv[1]))
