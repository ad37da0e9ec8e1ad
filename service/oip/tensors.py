"""Tensors on the wire: JSON or raw bytes <-> arrays, checked against the contract.

Raw bytes are row-major and little-endian; elements of BYTES carry their length in four bytes
before them (KServe's Open Inference Protocol, and Triton's binary tensor data extension).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.contract import Dtype, TensorSpec
from service.errors import InvalidInputError
from service.http.bodies import decode_json

DATATYPES: dict[Dtype, str] = {"uint8": "UINT8", "int64": "INT64", "float32": "FP32"}
"""The protocol's name of each dtype of the contract."""
_WIRE: dict[Dtype, np.dtype[Any]] = {
    "uint8": np.dtype("u1"),
    "int64": np.dtype("<i8"),
    "float32": np.dtype("<f4"),
}
_ELEMENTS: dict[Dtype, Any] = {
    "uint8": Annotated[int, msgspec.Meta(ge=0, le=255)],
    "int64": Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
    "float32": float,
}


def itemsize(spec: TensorSpec) -> int:
    """Bytes of one element."""
    return _WIRE[spec.dtype].itemsize


@cache
def _decoder(dtype: Dtype, depth: int) -> msgspec.json.Decoder[Any]:
    nested = _ELEMENTS[dtype]
    for _ in range(depth):
        nested = list[nested]  # type: ignore[valid-type]
    return msgspec.json.Decoder(nested)


def from_json(spec: TensorSpec, shape: Sequence[int], data: bytes | memoryview) -> NDArray[Any]:
    """Read `data`, a JSON list: flat in row-major order, or nested as `shape` is.

    Raises InvalidInputError for elements of another type or beyond it, and another number of them.
    """
    depth = _brackets(data)
    if depth not in (1, len(shape)):
        raise InvalidInputError(
            f"{spec.name}: data must be a flat list, or lists nested {len(shape)} deep as shape is",
            field=spec.name,
        )
    try:
        elements = decode_json(data, _decoder(spec.dtype, depth))
    except InvalidInputError as error:
        raise InvalidInputError(f"{spec.name}: data: {error.message}", field=spec.name) from error
    try:
        with np.errstate(over="ignore"):  # infinite then, and refused with what is
            array = np.array(elements, dtype=_WIRE[spec.dtype])
    except ValueError as error:  # rows of different lengths
        raise InvalidInputError(
            f"{spec.name}: data is nested unevenly, not as shape {list(shape)}", field=spec.name
        ) from error
    if depth == 1 and array.size == math.prod(shape):
        array = array.reshape(shape)
    if array.shape != tuple(shape):
        raise InvalidInputError(
            f"{spec.name}: data has {array.size} elements; shape {list(shape)} has "
            f"{math.prod(shape)}"
            if depth == 1
            else f"{spec.name}: data is nested as {list(array.shape)}, not as shape {list(shape)}",
            field=spec.name,
        )
    return array


def _brackets(data: bytes | memoryview) -> int:
    """How many lists open before the first element."""
    depth = 0
    for byte in data:
        if byte == 0x5B:
            depth += 1
        elif byte not in b" \t\r\n":
            break
    return depth


def from_elements(
    spec: TensorSpec, shape: Sequence[int], elements: Sequence[float]
) -> NDArray[Any]:
    """Make an array of a message's elements, flat and in row-major order.

    Raises InvalidInputError for another number of them, and for one beyond the dtype.
    """
    if len(elements) != math.prod(shape):
        raise InvalidInputError(
            f"{spec.name}: {len(elements)} elements; shape {list(shape)} has {math.prod(shape)}",
            field=spec.name,
        )
    try:
        return np.array(elements, dtype=_WIRE[spec.dtype]).reshape(shape)
    except OverflowError as error:
        raise InvalidInputError(f"{spec.name}: {error}", field=spec.name) from error


def from_raw(spec: TensorSpec, shape: Sequence[int], data: bytes | memoryview) -> NDArray[Any]:
    """View `data` as an array; it is copied only where its address does not suit the dtype.

    Raises InvalidInputError for another number of bytes.
    """
    dtype = _WIRE[spec.dtype]
    expected = math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise InvalidInputError(
            f"{spec.name}: {len(data)} bytes; shape {list(shape)} of "
            f"{DATATYPES[spec.dtype]} has {expected}",
            field=spec.name,
        )
    return np.require(np.frombuffer(data, dtype).reshape(shape), requirements="A")


def check_values(spec: TensorSpec, array: NDArray[Any]) -> None:
    """Raise InvalidInputError for values that the model cannot take.

    Floats must be finite: a NaN from one request would come back as an answer made of NaN.
    """
    if spec.dtype == "float32":
        # One pass and no temporary: float32 numbers cannot overflow a sum of float64.
        with np.errstate(invalid="ignore"):
            total = array.sum(dtype=np.float64)
        if not np.isfinite(total):
            raise InvalidInputError(f"{spec.name}: a number is not finite", field=spec.name)
    lower, upper = spec.minimum, spec.maximum
    if spec.dtype == "uint8" and (lower or 0) <= 0 and (upper is None or upper >= 255):
        return
    if lower is not None and (found := array.min()) < lower:
        raise InvalidInputError(
            f"{spec.name}: {found} is below the minimum of {lower:g}", field=spec.name
        )
    if upper is not None and (found := array.max()) > upper:
        raise InvalidInputError(
            f"{spec.name}: {found} is above the maximum of {upper:g}", field=spec.name
        )


def to_json(name: str, array: NDArray[Any]) -> list[Any]:
    """All elements, flat. Each float32 is written such that it reads back the same.

    Raises InvalidInputError if one is not finite: JSON cannot say so.
    """
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidInputError(
            f"{name}: a number of the output is not finite, and JSON has none such; ask for it "
            "as binary_data",
            field=name,
        )
    elements: list[Any] = array.ravel().tolist()
    return elements


def to_raw(array: NDArray[Any]) -> memoryview:
    """The array's bytes; a copy only where it is not contiguous."""
    wire = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return wire.data.cast("B")


def pack_bytes(elements: Sequence[str]) -> bytes:
    """A BYTES tensor's raw form."""
    packed: list[bytes] = []
    for element in elements:
        encoded = element.encode()
        packed += (struct.pack("<I", len(encoded)), encoded)
    return b"".join(packed)


def top_classes(
    name: str, array: NDArray[Any], count: int, labels: Sequence[str]
) -> tuple[list[int], list[str]]:
    """Triton's classification extension: the `count` largest of each row.

    Args:
        name: the output's, for messages.
        array: [N, C].
        count: at least 1; more than C gives C.
        labels: of the C classes, or of something else, and then not shown.

    Returns:
        The shape [N, count], and `value:index:label` for each.

    """
    if array.ndim != 2:
        raise InvalidInputError(
            f"{name}: classification needs an output of shape [rows, classes]; this one has "
            f"{array.ndim} axes",
            field=name,
        )
    count = min(count, array.shape[1])
    named = len(labels) == array.shape[1]
    elements: list[str] = []
    for row in array:
        for index in np.argsort(-row.astype(np.float64), kind="stable")[:count].tolist():
            label = f":{labels[index]}" if named else ""
            elements.append(f"{row[index]:f}:{index}{label}")
    return [len(array), count], elements
