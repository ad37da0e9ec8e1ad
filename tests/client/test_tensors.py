"""Tensors on the wire, read by the service's own code, and back."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from triptych.client import InvalidInputError, UnexpectedAnswerError
from triptych.client.tensors import DATATYPES, HEADER_LENGTH, packed, unpacked


def echoed(body: bytes, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    """A request's tensors as an answer's."""
    end = int(headers[HEADER_LENGTH])
    asked = msgspec.json.decode(body[:end])
    assert asked["parameters"] == {"binary_data_output": True}
    head = msgspec.json.encode({"model_name": "m", "outputs": asked["inputs"]})
    return head + body[end:], {HEADER_LENGTH: str(len(head))}


@given(
    st.sampled_from(sorted(DATATYPES)).flatmap(
        lambda dtype: arrays.arrays(
            np.dtype(dtype), arrays.array_shapes(min_dims=1, max_dims=4, min_side=0)
        )
    )
)
def test_there_and_back_is_the_same_to_the_bit(array: np.ndarray[Any, Any]) -> None:
    sent = {"a": array, "b": array.T}
    found = unpacked(*echoed(*packed(sent, None)))
    for name, expected in sent.items():
        assert found[name].dtype == expected.dtype
        assert found[name].shape == expected.shape
        assert found[name].tobytes() == expected.tobytes()


def test_big_endian_arrays_are_turned() -> None:
    array = np.array([1, 2, 300], dtype=">i8")
    body, headers = packed({"a": array}, ["out"])
    assert body.endswith(np.array([1, 2, 300], dtype="<i8").tobytes())
    asked = msgspec.json.decode(body[: int(headers[HEADER_LENGTH])])
    assert asked["outputs"] == [{"name": "out"}]


def test_a_dtype_that_the_protocol_lacks_is_refused_by_name() -> None:
    with pytest.raises(InvalidInputError, match="complex") as caught:
        packed({"image": np.zeros(2, dtype=np.complex64)}, None)
    assert caught.value.param == "image"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"{}", {}),
        (b"{}", {HEADER_LENGTH: "x"}),
        (b"{}", {HEADER_LENGTH: "2"}),
        (b"<html>", {HEADER_LENGTH: "6"}),
    ],
)
def test_an_answer_without_tensors(body: bytes, headers: dict[str, str]) -> None:
    with pytest.raises(UnexpectedAnswerError, match="no binary tensors"):
        unpacked(body, headers)


def test_an_answer_that_is_cut_off() -> None:
    body, headers = echoed(*packed({"a": np.arange(5)}, None))
    with pytest.raises(UnexpectedAnswerError):
        unpacked(body[:-1], headers)
    with pytest.raises(UnexpectedAnswerError):
        unpacked(body[:-8], headers)
