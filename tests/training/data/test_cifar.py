"""CIFAR-10's official archive, read without running what a pickle may hold."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.training.data.sources import cifar_batches, write_folder, write_tar
from training.data.cifar import CLASSES
from training.data.images import load_images
from training.errors import DataError

BATCH = "cifar-10-batches-py/data_batch_2"


@pytest.mark.parametrize("layout", ["archive", "parent", "extracted"])
def test_the_official_layout(tmp_path: Path, layout: str) -> None:
    files, image_NHWC = cifar_batches()
    if layout == "archive":
        source = write_tar(tmp_path / "cifar-10-python.tar.gz", files)
    else:
        source = write_folder(tmp_path / "data", files)
        source = source / "cifar-10-batches-py" if layout == "extracted" else source
    data = load_images(str(source), cache_dir=tmp_path / "cache")
    assert data.name == "cifar10"
    assert data.classes == CLASSES
    assert "Krizhevsky" in data.license
    np.testing.assert_array_equal(data.train.images, image_NHWC[:100])
    np.testing.assert_array_equal(data.test.images, image_NHWC[100:])
    assert data.train.labels.tolist() == [row % 10 for row in range(20)] * 5


def test_batches_pickled_by_python_2(tmp_path: Path) -> None:
    # The official files name numpy's old module and keep bytes as Python 2 strings.
    pixels = bytes(range(256)) * 12
    batch = (
        b"\x80\x02}q\x00(U\x04dataq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\n"
        b"q\x03K\x00\x85U\x01b\x87Rq\x04(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nq\x05U\x02u1K\x00K"
        b"\x01\x87Rq\x06(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + len(pixels).to_bytes(4, "little")
        + pixels
        + b"tbU\x06labelsq\x07]q\x08K\x03au."
    )
    files, _ = cifar_batches()
    data = load_images(
        str(write_folder(tmp_path / "data", files | {BATCH: batch})), cache_dir=tmp_path
    )
    image_CHW = np.frombuffer(pixels, np.uint8).reshape(3, 32, 32)
    np.testing.assert_array_equal(data.train.images[20], image_CHW.transpose(1, 2, 0))
    assert data.train.labels[20] == 3


class Touch:
    """A pickle that would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_a_batch_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    files, _ = cifar_batches()
    for trap in (
        Touch(tmp_path / "ran"),
        {b"data": Touch(tmp_path / "ran"), b"labels": []},
        {b"data": eval, b"labels": []},
    ):
        source = write_folder(tmp_path / "data", files | {BATCH: pickle.dumps(trap, protocol=2)})
        with pytest.raises(DataError, match="could run code"):
            load_images(str(source), cache_dir=tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "batch",
    [
        {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]},
        {b"data": np.zeros((2, 3072), np.float32), b"labels": [0, 1]},
        {b"data": np.zeros((2, 100), np.uint8), b"labels": [0, 1]},
        {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 10]},
    ],
)
def test_what_is_not_a_batch_is_refused(tmp_path: Path, batch: dict[bytes, object]) -> None:
    files, _ = cifar_batches()
    source = write_folder(tmp_path / "data", files | {BATCH: pickle.dumps(batch, protocol=2)})
    with pytest.raises(DataError, match=r"data_batch_2 is not a CIFAR-10 batch"):
        load_images(str(source), cache_dir=tmp_path)


def test_damaged_and_missing_batches_are_named(tmp_path: Path) -> None:
    files, _ = cifar_batches()
    damaged = write_folder(tmp_path / "damaged", files | {BATCH: files[BATCH][:500]})
    with pytest.raises(DataError, match="data_batch_2 is damaged"):
        load_images(str(damaged), cache_dir=tmp_path)
    del files[BATCH]
    with pytest.raises(DataError, match="lacks data_batch_2"):
        load_images(str(write_folder(tmp_path / "short", files)), cache_dir=tmp_path)


def test_other_sizes_are_fitted(tmp_path: Path) -> None:
    files, _ = cifar_batches()
    source = write_tar(tmp_path / "cifar-10-python.tar.gz", files)
    data = load_images(str(source), cache_dir=tmp_path, size=16)
    assert data.train.images.shape == (100, 16, 16, 3)
