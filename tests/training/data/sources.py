"""Small data sets in every layout that the loaders read."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).resolve().parents[3]


def real_data(name: str) -> Path:
    """Path of a real data set; skips the test where it is not to be had."""
    folder = Path(os.environ.get("TRIPTYCH_DATA", ROOT / "data"))
    if not (folder / name).is_file():
        pytest.skip(f"{folder / name} is not there; set TRIPTYCH_DATA to the folder that has it")
    return folder / name


def png(value: int, *, width: int = 8, height: int = 8) -> bytes:
    """A PNG of one colour, so that its pixels are known."""
    out = io.BytesIO()
    Image.new("RGB", (width, height), (value, 0, 255 - value)).save(out, format="PNG")
    return out.getvalue()


def image_files(
    classes: dict[str, int], *, splits: tuple[str, ...] = (), top: str = ""
) -> dict[str, bytes]:
    """Path -> content: so many images per class, of a value that tells class and number."""
    files = {}
    for split in splits or ("",):
        for index, (name, count) in enumerate(classes.items()):
            for number in range(count):
                path = "/".join(part for part in (top, split, name, f"{number}.png") if part)
                files[path] = png(40 * index + number)
    return files


def write_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def cifar_batches(rows: int = 20) -> tuple[dict[str, bytes], NDArray[np.uint8]]:
    """The official archive's files, with random pixels; and all images [6 * rows, 32, 32, 3]."""
    random = np.random.default_rng(0)
    files, images = {}, []
    for batch in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        image_NHWC = random.integers(0, 256, (rows, 32, 32, 3), np.uint8)
        content = {
            b"batch_label": batch.encode(),
            b"labels": [row % 10 for row in range(rows)],
            b"data": image_NHWC.transpose(0, 3, 1, 2).reshape(rows, -1),
            b"filenames": [f"{row}.png".encode() for row in range(rows)],
        }
        files[f"cifar-10-batches-py/{batch}"] = pickle.dumps(content, protocol=2)
        images.append(image_NHWC)
    files["cifar-10-batches-py/batches.meta"] = pickle.dumps({b"label_names": []}, protocol=2)
    return files, np.concatenate(images)
