"""What bytes may do to the decoders themselves: nothing but a refusal that names the field."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers

from service.contract import TensorSpec
from service.errors import InvalidInputError, TooLargeError, UndecodableImageError
from service.http.bodies import parse_form
from service.images import decode_image
from service.oip.bodies import inflate, split
from service.oip.tensors import from_json, from_raw
from tests.fuzz.damage import damaged, pictures
from tests.fuzz.malformed import form
from tests.pictures import picture

EXAMPLES = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MAX_PIXELS = 100_000


def decoded_or_refused(raw: bytes) -> None:
    try:
        image = decode_image(raw, height=8, width=8, max_pixels=MAX_PIXELS, field="images[3]")
    except (UndecodableImageError, TooLargeError) as refused:
        assert refused.field == "images[3]"
        assert "images[3]" in str(refused)
    else:
        assert image.shape == (8, 8, 3)
        assert image.dtype == np.uint8


@EXAMPLES
@given(st.binary(max_size=2000))
@example(b"")
@example(b"\xff\xd8")
@example(b"GIF89a")
def test_any_bytes_are_an_image_or_none(raw: bytes) -> None:
    decoded_or_refused(raw)


@EXAMPLES
@given(st.sampled_from(pictures()), st.integers(0, 2**32))
def test_a_damaged_image_is_an_image_or_none(whole: bytes, seed: int) -> None:
    decoded_or_refused(damaged(whole, seed))


@pytest.mark.parametrize("index", range(len(pictures())))
def test_every_picture_is_decoded_while_it_is_whole(index: int) -> None:
    """Else the damaged ones would be refused for what they were before."""
    if index == len(pictures()) - 1:  # the bomb
        with pytest.raises(TooLargeError):
            decode_image(pictures()[index], height=8, width=8, max_pixels=MAX_PIXELS)
    else:
        decoded_or_refused(pictures()[index])
        decode_image(pictures()[index], height=8, width=8, max_pixels=MAX_PIXELS)


@pytest.mark.anyio
@EXAMPLES
@given(st.integers(0, 2**32))
async def test_a_damaged_form_is_parsed_or_refused(seed: int) -> None:
    raw = damaged(form([picture(), b"x" * 100]), seed)
    headers = Headers({"content-type": "multipart/form-data; boundary=limit"})
    try:
        parsed = await parse_form(raw, headers, max_bytes=len(raw) + 1, max_files=4)
    except (InvalidInputError, TooLargeError) as refused:
        assert refused.field in ("body", "files", "content-type")
    else:
        await parsed.close()


@EXAMPLES
@given(st.binary(max_size=300), st.sampled_from(("gzip", "deflate")))
def test_what_is_not_compressed_is_refused(raw: bytes, encoding: str) -> None:
    try:
        assert len(inflate(raw, encoding, 4096)) <= 4096
    except (InvalidInputError, TooLargeError) as refused:
        assert refused.field == "body"


@EXAMPLES
@given(st.binary(max_size=50), st.text(max_size=25))
@example(b"abc", "3")
@example(b"abc", "4")
@example(b"abc", "-1")
@example(b"abc", "\u0663")
def test_a_header_length_is_within_the_body(body: bytes, text: str) -> None:
    try:
        head, rest = split({"inference-header-content-length": text}, body)
    except InvalidInputError as refused:
        assert refused.field == "inference-header-content-length"
    else:
        assert rest is not None
        assert head + bytes(rest) == body
        assert len(head) == int(text)


SHAPES = st.lists(st.integers(1, 3) | st.integers(1, 2**40), max_size=4)
DTYPES = st.sampled_from(("uint8", "int64", "float32"))


def spec_of(shape: list[int], dtype: Any) -> TensorSpec:
    return TensorSpec(name="x", dtype=dtype, shape=tuple(f"axis{i}" for i in range(len(shape))))


@EXAMPLES
@given(st.binary(max_size=200), SHAPES, DTYPES)
def test_raw_tensors_have_the_bytes_that_their_shape_says(
    raw: bytes, shape: list[int], dtype: Any
) -> None:
    try:
        array = from_raw(spec_of(shape, dtype), shape, raw)
    except InvalidInputError as refused:
        assert refused.field == "x"
    else:
        assert list(array.shape) == shape
        assert array.nbytes == len(raw)


NUMBERS = st.integers(-300, 2**70) | st.floats() | st.booleans() | st.none() | st.text(max_size=2)
NESTED = st.recursive(st.lists(NUMBERS, max_size=4), lambda inner: st.lists(inner, max_size=3))


@EXAMPLES
@given(NESTED, SHAPES, DTYPES)
@example([1e39], [1], "float32")
@example([[1], [1, 2]], [2, 2], "uint8")
def test_json_tensors_have_the_elements_that_their_shape_says(
    value: Any, shape: list[int], dtype: Any
) -> None:
    try:
        array = from_json(spec_of(shape, dtype), shape, json.dumps(value).encode())
    except InvalidInputError as refused:
        assert refused.field == "x"
    else:
        assert list(array.shape) == shape
        assert array.dtype == dtype
