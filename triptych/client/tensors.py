"""numpy's arrays as tensors of the Open Inference Protocol, and back, in binary.

The JSON comes first, and the header Inference-Header-Content-Length says how long it is; then the
tensors' bytes, row-major and little-endian (Triton's binary tensor data extension).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from triptych.client.answers import Inference
from triptych.client.errors import InvalidInputError, UnexpectedAnswerError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HEADER_LENGTH = "inference-header-content-length"
DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
"""The protocol's name of each of numpy's."""
_DTYPES = {datatype: dtype for dtype, datatype in DATATYPES.items()}


class _Sizes(msgspec.Struct):
    binary_data_size: int


class _Output(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    parameters: _Sizes


class _Head(msgspec.Struct):
    model_name: str
    outputs: list[_Output]
    model_version: str = ""


_decoder = msgspec.json.Decoder(_Head)


def packed(
    tensors: Mapping[str, NDArray[np.generic]], outputs: Sequence[str] | None
) -> tuple[bytes, dict[str, str]]:
    """A request's body, and the headers that it needs.

    Raises InvalidInputError for an array of a dtype that the protocol has no name for.
    """
    inputs: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for name, array in tensors.items():
        if array.dtype.name not in DATATYPES:
            raise InvalidInputError(
                f"{name} is of {array.dtype}; a tensor is one of {', '.join(DATATYPES)}", param=name
            )
        parts.append(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
        inputs.append(
            {
                "name": name,
                "datatype": DATATYPES[array.dtype.name],
                "shape": array.shape,
                "parameters": {"binary_data_size": len(parts[-1])},
            }
        )
    head: dict[str, Any] = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    if outputs is not None:
        head["outputs"] = [{"name": name} for name in outputs]
    json = msgspec.json.encode(head)
    headers = {HEADER_LENGTH: str(len(json)), "content-type": "application/octet-stream"}
    return b"".join([json, *parts]), headers


def unpacked(body: bytes, headers: Mapping[str, str]) -> Inference:
    """The answer's tensors; they share the memory of `body`, and cannot be written to.

    Raises UnexpectedAnswerError if it is not laid out as the protocol has it.
    """
    import numpy as np  # noqa: PLC0415

    try:
        end = int(headers[HEADER_LENGTH])
        head = _decoder.decode(body[:end])
        outputs: dict[str, NDArray[np.generic]] = {}
        for one in head.outputs:
            size = one.parameters.binary_data_size
            dtype = np.dtype(_DTYPES[one.datatype]).newbyteorder("<")
            data = memoryview(body)[end : end + size]
            outputs[one.name] = np.frombuffer(data, dtype).reshape(one.shape)
            end += size
    except (KeyError, ValueError, msgspec.MsgspecError) as error:
        raise UnexpectedAnswerError(f"the answer holds no binary tensors: {error}") from error
    return Inference(head.model_name, head.model_version, outputs)
