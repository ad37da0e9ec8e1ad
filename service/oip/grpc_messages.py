"""An inference over gRPC: its message as `Wanted`, and what came of it as a message again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from service.contract import Dtype, TensorSpec
from service.errors import InvalidInputError
from service.oip import grpc_service_pb2 as pb2
from service.oip.inference import Decode, Inferred, Input, Output, Wanted
from service.oip.requests import check_parameters, deadline, priority, whole
from service.oip.tensors import DATATYPES, from_elements, from_raw, pack_bytes, to_raw, top_classes

_CONTENTS: dict[Dtype, str] = {
    "uint8": "uint_contents",
    "int64": "int64_contents",
    "float32": "fp32_contents",
}
"""Where the elements of a tensor are when they are not raw, by dtype."""


@dataclass(frozen=True)
class Unread:
    """Bytes that are no message of the call's type, in a message's place.

    A deserializer that raises would end the call as the server's failure, with a traceback.
    """

    error: InvalidInputError


def read_as(message: Any) -> Callable[[bytes], Any]:
    """Make a deserializer of a message class; it does not raise."""

    def read(raw: bytes) -> Any:
        try:
            return message.FromString(raw)
        except DecodeError as error:
            return Unread(InvalidInputError(f"the message cannot be parsed: {error}"))

    return read


def parse(request: Any, deadline_s: float) -> Wanted:
    """Read a ModelInferRequest; raises InvalidInputError if something in it is not known.

    Tensors are either all in `raw_input_contents`, in the order of `inputs`, or all in `contents`.
    """
    parameters = plain(request.parameters)
    check_parameters(parameters, ("priority", "timeout"), "the request")
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidInputError(
            f"raw_input_contents has {len(raw)} tensors for {len(request.inputs)} inputs",
            field="raw_input_contents",
        )
    inputs: list[Input] = []
    for position, sent in enumerate(request.inputs):
        check_parameters(plain(sent.parameters), (), sent.name)
        if raw and sent.HasField("contents"):
            raise InvalidInputError(
                f"{sent.name}: its elements are there twice, in contents and raw_input_contents",
                field=sent.name,
            )
        shape = list(sent.shape)
        decode = _raw(raw[position], shape) if raw else _typed(sent, shape)
        inputs.append(Input(sent.name, sent.datatype, shape, decode))
    outputs = [_output(one) for one in request.outputs] or None
    return Wanted(inputs, outputs, True, priority(parameters), deadline(parameters, deadline_s))


def plain(parameters: Mapping[str, Any]) -> dict[str, object]:
    """Parameters as Python's own values."""
    return {
        name: getattr(value, value.WhichOneof("parameter_choice") or "", None)
        for name, value in parameters.items()
    }


def _raw(data: bytes, shape: list[int]) -> Decode:
    return lambda spec: from_raw(spec, shape, data)


def _typed(sent: Any, shape: list[int]) -> Decode:
    def decode(spec: TensorSpec) -> NDArray[Any]:
        field = _CONTENTS[spec.dtype]
        given = [descriptor.name for descriptor, _ in sent.contents.ListFields()]
        if given != [field]:
            raise InvalidInputError(
                f"{sent.name}: elements of {DATATYPES[spec.dtype]} go into {field}, or all "
                f"tensors into raw_input_contents; there is {', '.join(given) or 'nothing'}",
                field=sent.name,
            )
        return from_elements(spec, shape, getattr(sent.contents, field))

    return decode


def _output(asked: Any) -> Output:
    parameters = plain(asked.parameters)
    check_parameters(parameters, ("classification",), asked.name)
    return Output(asked.name, True, whole(parameters, "classification", maximum=2**31 - 1) or 0)


def render(id_: str, inferred: Inferred) -> Any:
    """The ModelInferResponse; all tensors are in `raw_output_contents`, as Triton has them."""
    manifest = inferred.manifest
    response = pb2.ModelInferResponse(
        model_name=manifest.name, model_version=manifest.version, id=id_
    )
    for wanted in inferred.outputs:
        array = inferred.answer.outputs[wanted.name]
        output = response.outputs.add(name=wanted.name)
        if wanted.classes:
            shape, elements = top_classes(wanted.name, array, wanted.classes, manifest.labels)
            output.datatype = "BYTES"
            output.shape.extend(shape)
            response.raw_output_contents.append(pack_bytes(elements))
        else:
            output.datatype = DATATYPES[manifest.output(wanted.name).dtype]
            output.shape.extend(np.shape(array))
            response.raw_output_contents.append(bytes(to_raw(array)))
    return response
