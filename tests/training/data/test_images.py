"""Image data sets: layouts, splits, caching, refusals."""

from __future__ import annotations

import hashlib
import io
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.images import decode_image
from tests.training.data.sources import (
    image_files,
    png,
    real_data,
    write_folder,
    write_tar,
    write_zip,
)
from training.data.cifar import CLASSES
from training.data.images import ImageData, load_images
from training.errors import DataError

TWO = {"ant": 20, "bee": 10}


def load(source: Path, tmp_path: Path, size: int = 4) -> ImageData:
    return load_images(str(source), cache_dir=tmp_path / "cache", size=size)


def same_arrays(a: ImageData, b: ImageData) -> bool:
    return all(
        np.array_equal(x, y)
        for x, y in (
            (a.train.images, b.train.images),
            (a.train.labels, b.train.labels),
            (a.test.images, b.test.images),
            (a.test.labels, b.test.labels),
        )
    )


def test_a_folder_is_decoded_and_a_tenth_of_each_class_is_held_out(tmp_path: Path) -> None:
    data = load(write_folder(tmp_path / "insects", image_files(TWO)), tmp_path)
    assert data.name == "insects"
    assert data.classes == ("ant", "bee")
    assert data.train.images.shape == (27, 4, 4, 3)
    assert data.train.images.dtype == np.uint8
    assert np.bincount(data.test.labels).tolist() == [2, 1]
    seen = np.concatenate([data.train.images, data.test.images])[:, 0, 0, 0]
    labels = np.concatenate([data.train.labels, data.test.labels])
    expected = [*range(20), *range(40, 50)]
    assert sorted(seen.tolist()) == expected
    assert (labels == (seen >= 40)).all()


def test_the_held_out_images_are_the_same_every_time(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "insects", image_files(TWO))
    first = load_images(str(source), cache_dir=tmp_path / "a", size=4)
    second = load_images(str(source), cache_dir=tmp_path / "b", size=4)
    assert same_arrays(first, second)
    assert first.sha256 == second.sha256


@pytest.mark.parametrize("test_split", ["test", "val", "validation"])
def test_splits_of_the_source_are_kept(tmp_path: Path, test_split: str) -> None:
    files = image_files(TWO, splits=("train", test_split))
    data = load(write_folder(tmp_path / "insects", files), tmp_path)
    assert np.bincount(data.train.labels).tolist() == [20, 10]
    assert np.bincount(data.test.labels).tolist() == [20, 10]


def test_a_validation_split_beside_a_test_split_is_neither_fitted_nor_tested_on(
    tmp_path: Path,
) -> None:
    files = image_files(TWO, splits=("train", "test"))
    files |= {f"val/{name}/0.png": png(222) for name in TWO}
    data = load(write_folder(tmp_path / "insects", files), tmp_path)
    assert len(data.train.labels) == len(data.test.labels) == 30
    assert 222 not in data.train.images
    assert 222 not in data.test.images


@pytest.mark.parametrize("top", ["", "insects", "some/insects"])
@pytest.mark.parametrize("splits", [(), ("train", "test")])
def test_archives_hold_what_the_folder_holds(
    tmp_path: Path, top: str, splits: tuple[str, ...]
) -> None:
    folder = load(write_folder(tmp_path / "insects", image_files(TWO, splits=splits)), tmp_path)
    files = image_files(TWO, splits=splits, top=top)
    backwards = dict(reversed(files.items()))  # the order in the archive does not matter
    for archive in (
        write_tar(tmp_path / "insects.tar.gz", backwards),
        write_zip(tmp_path / "insects.zip", files),
    ):
        data = load(archive, tmp_path)
        assert data.name == "insects"
        assert data.classes == folder.classes
        assert same_arrays(data, folder)
        assert data.sha256 == hashlib.sha256(archive.read_bytes()).hexdigest()


def test_litter_is_passed_over(tmp_path: Path) -> None:
    litter = {
        "__MACOSX/ant/._0.png": b"x",
        "ant/.DS_Store": b"x",
        "bee/notes.txt": b"x",
        ".git/x.png": b"x",
    }
    data = load(write_zip(tmp_path / "insects.zip", image_files(TWO) | litter), tmp_path)
    assert data.classes == ("ant", "bee")
    assert len(data.train.labels) + len(data.test.labels) == 30


def test_images_are_fitted_as_in_serving(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    photo = Image.fromarray(random.integers(0, 256, (90, 120, 3), np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright
    out = io.BytesIO()
    photo.save(out, format="JPEG", exif=turned)
    files = image_files(TWO) | {"ant/photo.jpg": out.getvalue()}
    data = load(write_folder(tmp_path / "insects", files), tmp_path, size=16)
    served = decode_image(out.getvalue(), height=16, width=16, max_pixels=10**6)
    images = np.concatenate([data.train.images, data.test.images])
    assert (images == served).all(axis=(1, 2, 3)).sum() == 1
    assert data.original_sizes is not None
    assert [120, 90] in data.original_sizes.tolist()


def test_a_second_load_reads_the_cache_and_a_changed_source_does_not(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "insects", image_files(TWO))
    first = load(source, tmp_path)
    stored = list((tmp_path / "cache").iterdir())
    assert len(stored) == 1
    written_at = stored[0].stat().st_mtime_ns
    assert same_arrays(first, load(source, tmp_path))
    assert stored[0].stat().st_mtime_ns == written_at
    (source / "ant" / "more.png").write_bytes(png(99))
    changed = load(source, tmp_path)
    assert len(changed.train.labels) + len(changed.test.labels) == 31
    assert changed.sha256 != first.sha256


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "insects", image_files(TWO))
    first = load(source, tmp_path)
    (stored,) = (tmp_path / "cache").iterdir()
    stored.write_bytes(stored.read_bytes()[:-200])
    assert same_arrays(first, load(source, tmp_path))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no images"),
        ({"0.png": png(1), "1.png": png(2)}, "outside any class"),
        ({"ant/0.png": png(1), "loose.png": png(2)}, "'loose.png' lies outside any class"),
        (image_files({"ant": 5}), "one class only, 'ant'"),
        (image_files({"ant": 5, "bee": 1}), "class 'bee' has one image"),
        (
            image_files(TWO, splits=("train",)) | {"test/ant/0.png": png(1)},
            "class 'bee' has no test images",
        ),
        (
            image_files(TWO, splits=("test",)) | {"train/ant/0.png": png(1)},
            "class 'bee' has no training images",
        ),
        (
            image_files(TWO, splits=("train", "test", "unlabelled")),
            "has 'unlabelled' beside 'train' and 'test'",
        ),
        (image_files(TWO) | {"bee/3.png": b"not an image"}, "bee/3.png is not an image"),
        (image_files(TWO) | {"bee/3.png": png(3)[:-30]}, "bee/3.png is damaged"),
    ],
)
def test_what_is_not_an_image_data_set_is_refused(
    tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    source = write_folder(tmp_path / "insects", files)
    source.mkdir(exist_ok=True)
    with pytest.raises(DataError, match=message):
        load(source, tmp_path)
    if files:
        with pytest.raises(DataError, match=message):
            load(write_tar(tmp_path / "insects.tar.gz", files), tmp_path)


def test_an_archive_of_train_alone_is_split(tmp_path: Path) -> None:
    data = load(write_tar(tmp_path / "a.tar.gz", image_files(TWO, splits=("train",))), tmp_path)
    assert data.classes == ("ant", "bee")
    assert np.bincount(data.test.labels).tolist() == [2, 1]


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "ant/../../evil.png"])
@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_paths_that_leave_the_archive_are_refused(tmp_path, write, name) -> None:  # type: ignore[no-untyped-def]
    archive = write(tmp_path / "a.archive", image_files(TWO) | {name: png(1)})
    with pytest.raises(DataError, match="leaves the archive"):
        load(archive, tmp_path)


def test_too_large_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.data.folder.MAX_FILE_BYTES", 40)
    for source in (
        write_folder(tmp_path / "insects", image_files(TWO)),
        write_tar(tmp_path / "insects.tar", image_files(TWO)),
        write_zip(tmp_path / "insects.zip", image_files(TWO)),
    ):
        with pytest.raises(DataError, match="at most 40 are read"):
            load(source, tmp_path)


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    random = np.random.default_rng(0).bytes(40_000)  # noise, so that the tear hits the content
    whole = write_tar(tmp_path / "whole.tar.gz", image_files(TWO) | {"ant/noise.png": random})
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole.read_bytes()[:-20_000])
    with pytest.raises(DataError, match="is damaged"):
        load(cut, tmp_path)
    zipped = write_zip(tmp_path / "whole.zip", image_files(TWO))
    content = bytearray(zipped.read_bytes())
    content[60] ^= 0xFF
    (tmp_path / "flipped.zip").write_bytes(content)
    with pytest.raises(DataError, match="is damaged"):
        load(tmp_path / "flipped.zip", tmp_path)


def test_what_is_no_data_set_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not exist; give a folder"):
        load(tmp_path / "nowhere", tmp_path)
    (tmp_path / "words.txt").write_text("words")
    with pytest.raises(DataError, match="neither a folder nor"):
        load(tmp_path / "words.txt", tmp_path)


def test_ten_familiar_names_are_not_taken_for_cifar(tmp_path: Path) -> None:
    files = image_files(dict.fromkeys(CLASSES, 2))
    data = load(write_folder(tmp_path / "mine", files), tmp_path)
    assert data.classes == CLASSES
    assert data.name == "mine"
    assert data.license == ""


@pytest.mark.data
def test_cifar_as_jpeg_files(tmp_path: Path) -> None:
    source = real_data("cifar10.tar.gz")
    data = load(source, tmp_path, size=32)
    assert data.name == "cifar10"
    assert data.classes[0] == "airplane"
    assert data.classes[9] == "truck"
    assert np.bincount(data.train.labels).tolist() == [5000] * 10
    assert np.bincount(data.test.labels).tolist() == [500] * 10
    started = time.perf_counter()
    assert same_arrays(data, load(source, tmp_path, size=32))
    assert time.perf_counter() - started < 5.0  # under a second where nothing else runs
