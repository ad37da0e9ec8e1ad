"""What may be sent as an image, and that its pixels arrive."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.pictures import picture
from triptych.client import InvalidInputError, calls
from triptych.client.pictures import encoded, is_one


def pixels(shape: tuple[int, ...] = (5, 4, 3)) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def decoded(png: bytes) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(png)) as image:
        return np.array(image)


def test_files_and_bytes_are_sent_as_they_are(tmp_path: Path) -> None:
    raw = picture(kind="JPEG")
    path = tmp_path / "a.jpg"
    path.write_bytes(raw)
    with path.open("rb") as file:
        for image in (path, str(path), raw, bytearray(raw), memoryview(raw), io.BytesIO(raw), file):
            assert is_one(image)
            assert encoded(image, "image") == raw  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(5, 4, 3), (5, 4, 4), (5, 4), (3, 4)])
def test_arrays_lose_nothing(shape: tuple[int, ...]) -> None:
    array = pixels(shape)
    assert is_one(array)
    assert (decoded(encoded(array, "image")) == array).all()
    assert (decoded(encoded(array[::-1], "image")) == array[::-1]).all()


def test_one_channel_is_grey() -> None:
    array = pixels((5, 4, 1))
    assert (decoded(encoded(array, "image")) == array[..., 0]).all()


def test_pictures_of_pillows_lose_nothing() -> None:
    image = Image.fromarray(pixels())
    assert is_one(image)
    assert (decoded(encoded(image, "image")) == pixels()).all()


def test_an_array_of_four_axes_is_several() -> None:
    many = pixels((6, 5, 4, 3))
    assert not is_one(many)
    call = calls.classify(many)
    assert [decoded(one).tolist() for one in call.files] == many.tolist()


def test_one_is_the_body_and_several_are_a_form() -> None:
    one = calls.classify(b"a", model="m", top_k=3, explain=True)
    assert (one.body, one.files) == (b"a", ())
    assert one.query == {"model": "m", "top_k": "3", "explain": "true"}
    several = calls.classify(iter([b"a", b"b"]))
    assert (several.body, several.files, several.query) == (b"", [b"a", b"b"], {})


@pytest.mark.parametrize(
    "wrong",
    [
        5,
        None,
        {"a": 1},
        pixels().astype(np.float32),
        pixels((2, 2, 2)),
        pixels((0, 4, 3)),
    ],
)
def test_what_is_no_image_is_refused_by_name(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"images\[1\]") as caught:
        calls.classify([b"a", wrong])
    assert caught.value.param == "images[1]"


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        calls.classify(tmp_path / "none.png")
