"""Tensors on the wire: what is read, what is refused, and what comes back the same."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.contract import TensorSpec
from service.errors import InvalidInputError
from service.oip.tensors import (
    check_values,
    from_elements,
    from_json,
    from_raw,
    pack_bytes,
    to_json,
    to_raw,
    top_classes,
)

UINT8 = TensorSpec(name="image", dtype="uint8", shape=("N", 2, 3), minimum=0, maximum=255)
INT64 = TensorSpec(name="token", dtype="int64", shape=("N", "T"), minimum=0, maximum=64)
FP32 = TensorSpec(name="noise", dtype="float32", shape=("N", 4))
SPECS = {np.dtype(spec.dtype): spec for spec in (UINT8, INT64, FP32)}

tensors = st.sampled_from(list(SPECS)).flatmap(
    lambda dtype: arrays.arrays(
        dtype,
        arrays.array_shapes(min_dims=1, max_dims=4, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else None,
    )
)


@given(tensors)
def test_json_and_raw_bytes_hold_every_bit(array: np.ndarray[Any, Any]) -> None:
    spec = SPECS[array.dtype]
    shape = list(array.shape)
    flat = json.dumps(to_json("x", array)).encode()
    nested = json.dumps(array.tolist()).encode()
    raw = bytes(to_raw(array))
    read = [from_json(spec, shape, flat), from_json(spec, shape, nested)]
    read += [from_raw(spec, shape, raw), from_elements(spec, shape, array.ravel().tolist())]
    for found in read:
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert found.tobytes() == array.tobytes()


def test_raw_bytes_are_viewed_not_copied() -> None:
    data = np.arange(16, dtype=np.float32).tobytes()
    found = from_raw(FP32, [4, 4], data)
    assert np.shares_memory(found, np.frombuffer(data, dtype=np.uint8))
    assert np.shares_memory(np.frombuffer(to_raw(found), dtype=np.uint8), found)


def test_raw_bytes_at_an_odd_address_are_moved() -> None:
    body = b"{}x" + np.arange(8, dtype=np.int64).tobytes()
    found = from_raw(INT64, [2, 4], memoryview(body)[3:])
    assert found.flags.aligned
    assert found.ravel().tolist() == list(range(8))


def test_raw_bytes_are_little_endian_and_row_major() -> None:
    data = struct.pack("<4q", 1, 2, 3, 4)
    assert from_raw(INT64, [2, 2], data).tolist() == [[1, 2], [3, 4]]
    assert bytes(to_raw(np.array([[1, 3], [2, 4]]).T)) == data


@pytest.mark.parametrize(
    ("spec", "shape", "data", "piece"),
    [
        (INT64, [1, 2], "[1]", "1 elements; shape [1, 2] has 2"),
        (INT64, [1, 2], "[[1, 2, 3]]", "nested as [1, 3]"),
        (INT64, [2, 2], "[[1, 2], [3]]", "unevenly"),
        (INT64, [1, 2], "[[[1, 2]]]", "nested 2 deep"),
        (INT64, [1, 2], "{}", "flat list"),
        (INT64, [1, 2], "", "flat list"),
        (INT64, [1, 2], "[1, 2.0]", "got `float` - at `$[1]`"),
        (INT64, [1, 2], f"[1, {2**63}]", "<= 9223372036854775807"),
        (UINT8, [1, 2], "[1, -1]", ">= 0"),
        (FP32, [1, 2], '["1", 2]', "got `str` - at `$[0]`"),
        (FP32, [1, 2], "[1, null]", "got `null`"),
        (FP32, [1, 2], "[1, 2", "not valid JSON"),
    ],
)
def test_json_that_is_not_the_tensor(
    spec: TensorSpec, shape: list[int], data: str, piece: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        from_json(spec, shape, data.encode())
    assert piece.split(" - at ", maxsplit=1)[0] in caught.value.message
    assert caught.value.field == spec.name


def test_white_space_before_the_list() -> None:
    assert from_json(INT64, [1, 2], b" [\n\t[ 1 , 2 ] ] ").tolist() == [[1, 2]]


def test_raw_bytes_of_another_size() -> None:
    with pytest.raises(InvalidInputError, match=r"7 bytes; shape \[1, 1\] of INT64 has 8"):
        from_raw(INT64, [1, 1], bytes(7))


@pytest.mark.parametrize(
    ("spec", "elements", "piece"),
    [(UINT8, [256], "out of bounds"), (UINT8, [1, 2], "2 elements; shape [1] has 1")],
)
def test_elements_that_are_not_the_tensor(
    spec: TensorSpec, elements: list[int], piece: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        from_elements(spec, [1], elements)
    assert piece in caught.value.message


@pytest.mark.parametrize(
    ("spec", "values", "piece"),
    [
        (INT64, [0, 65], "65 is above the maximum of 64"),
        (INT64, [0, -1], "-1 is below the minimum of 0"),
        (FP32, [0.0, np.nan], "not finite"),
        (FP32, [np.inf, -np.inf], "not finite"),
        (FP32, [-np.inf, 1.0], "not finite"),
    ],
)
def test_values_that_the_model_cannot_take(
    spec: TensorSpec, values: list[float], piece: str
) -> None:
    with pytest.raises(InvalidInputError, match=piece):
        check_values(spec, np.array(values, dtype=spec.dtype))


def test_values_at_the_bounds() -> None:
    check_values(INT64, np.array([0, 64]))
    check_values(UINT8, np.array([0, 255], dtype=np.uint8))
    largest = np.finfo(np.float32).max
    check_values(FP32, np.full(1000, largest))
    narrow = TensorSpec(name="mask", dtype="uint8", shape=("N",), minimum=0, maximum=1)
    with pytest.raises(InvalidInputError, match="2 is above the maximum of 1"):
        check_values(narrow, np.array([0, 2], dtype=np.uint8))


def test_json_has_no_infinity() -> None:
    with pytest.raises(InvalidInputError, match=r"logits: .* binary_data"):
        to_json("logits", np.array([1, np.inf], dtype=np.float32))


def test_strings_carry_their_length() -> None:
    assert pack_bytes(["ab", "é"]) == b"\x02\0\0\0ab\x02\0\0\0\xc3\xa9"


def test_the_largest_first_and_the_first_of_equals() -> None:
    array = np.array([[0.25, 0.5, 0.25], [0, 0, 1]], dtype=np.float32)
    shape, elements = top_classes("p", array, 2, ["a", "b", "c"])
    assert shape == [2, 2]
    assert elements == ["0.500000:1:b", "0.250000:0:a", "1.000000:2:c", "0.000000:0:a"]
    assert top_classes("p", array, 9, [])[1][0] == "0.500000:1"


def test_whole_numbers_have_classes_too() -> None:
    array = np.array([[3, 200, 0]], dtype=np.uint8)
    assert top_classes("p", array, 1, [])[1] == ["200.000000:1"]
