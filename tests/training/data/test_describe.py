"""Descriptions of data sets."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from tests.training.data.sources import image_files, png, write_folder
from training.data.describe import describe_images, describe_text
from training.data.images import load_images
from training.data.text import load_text


def test_images(tmp_path: Path) -> None:
    files = image_files({"ant": 20, "bee": 10}) | {"bee/wide.png": png(3, width=24, height=6)}
    source = write_folder(tmp_path / "insects", files)
    data = load_images(str(source), cache_dir=tmp_path / "cache", size=8)
    description = describe_images(data, tmp_path / "plots")
    rows = [line.split() for line in description.text.splitlines()]
    assert ["ant", "18", "2"] in rows
    assert ["bee", "10", "1"] in rows
    assert ["max", "24.0", "8.0"] in rows
    assert ["green", "0.0000", "0.0000"] in [[row[0], *row[1:]] for row in rows if row]
    assert {path.name for path in description.files} == {
        "classes.png",
        "channels.png",
        "examples.png",
        "means.png",
        "sizes.png",
    }
    for path in description.files:
        with Image.open(path) as image:
            assert image.width > 50


def test_text(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("one two\n" * 100 + "§\n")
    data = load_text(str(path), cache_dir=tmp_path)
    description = describe_text(data, tmp_path / "plots")
    rows = [line.split() for line in description.text.splitlines()]
    assert ["train", "721", "181", "90", "7"] in rows
    assert ["'o'", "200", "24.94%"] in rows
    assert "never in train: '§'" in description.text
    assert all(path.is_file() for path in description.files)
