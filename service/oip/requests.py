"""An inference over HTTP: its JSON, checked, as `Wanted`; and what came of it as JSON again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from numpy.typing import NDArray

from service.contract import Manifest, TensorSpec
from service.errors import InvalidInputError
from service.http.bodies import decode_json
from service.oip.inference import Decode, Inferred, Input, Output, Wanted
from service.oip.tensors import (
    DATATYPES,
    from_json,
    from_raw,
    itemsize,
    pack_bytes,
    to_json,
    to_raw,
    top_classes,
)
from service.waiting import PRIORITIES, USUAL

Parameters = dict[str, bool | int | float | str]
_encoder = msgspec.json.Encoder()


class _Input(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    shape: list[Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]]
    datatype: str
    parameters: Parameters | None = None
    data: msgspec.Raw = msgspec.Raw()


class _Output(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    parameters: Parameters | None = None


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    inputs: list[_Input]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[_Output] | None = None
    model_name: str | None = None
    model_version: str | None = None


_decoder = msgspec.json.Decoder(_Request)


def parse(
    manifest: Manifest,
    json: bytes,
    binary: memoryview | None,
    deadline_s: float,
    usual: int = USUAL,
) -> tuple[str, Wanted]:
    """Read a request: its id, and what it wants.

    Args:
        manifest: of the model that the path names; a body that names one must name the same.
        json: the body, or its first part.
        binary: the tensors behind it; None if the client did not say that there are any.
        deadline_s: the most that it may take; a `timeout` of its own makes it less.
        usual: its priority if it has no `priority` of its own.

    Raises:
        InvalidInputError: malformed, or something in it is not known.

    """
    if binary is not None and not json:
        return "", _lone_tensor(manifest, binary, deadline_s, usual)
    asked = decode_json(json, _decoder)
    for field, name in (("model_name", manifest.name), ("model_version", manifest.version)):
        if getattr(asked, field) not in (None, "", name):
            raise InvalidInputError(
                f"{field} is {getattr(asked, field)!r}; the address names {name}", field=field
            )
    own = asked.parameters or {}
    check_parameters(own, ("priority", "timeout", "binary_data_output"), "the request")
    raw = flag(own, "binary_data_output", default=False)
    left = memoryview(b"") if binary is None else binary
    inputs: list[Input] = []
    for sent in asked.inputs:
        parameters = sent.parameters or {}
        check_parameters(parameters, ("binary_data_size",), sent.name)
        size = whole(parameters, "binary_data_size", maximum=2**63)
        if size is None:
            decode = _json_decode(sent)
        else:
            if binary is None:
                raise InvalidInputError(
                    f"{sent.name}: binary_data_size needs the header "
                    "Inference-Header-Content-Length",
                    field=sent.name,
                )
            if memoryview(sent.data):
                raise InvalidInputError(
                    f"{sent.name}: data is there twice, in JSON and as binary_data_size says",
                    field=sent.name,
                )
            if size > len(left):
                raise InvalidInputError(
                    f"{sent.name}: binary_data_size is {size}, but {len(left)} bytes are left",
                    field=sent.name,
                )
            decode = _raw_decode(sent, left[:size])
            left = left[size:]
        inputs.append(Input(sent.name, sent.datatype, sent.shape, decode))
    if left:
        raise InvalidInputError(f"{len(left)} bytes follow the last tensor", field="body")
    outputs = None if asked.outputs is None else [_output(one, raw) for one in asked.outputs]
    return asked.id or "", Wanted(
        inputs, outputs, raw, priority(own, usual), deadline(own, deadline_s)
    )


def _lone_tensor(manifest: Manifest, data: memoryview, deadline_s: float, priority: int) -> Wanted:
    """A raw tensor and no JSON: it is the model's one input, as many rows as it makes."""
    if len(manifest.inputs) != 1:
        raise InvalidInputError(
            f"a body that is one tensor needs a model of one input; {manifest.name} has "
            f"{', '.join(spec.name for spec in manifest.inputs)}",
            field="body",
        )
    (spec,) = manifest.inputs
    row = math.prod(axis for axis in spec.shape[1:] if isinstance(axis, int)) * itemsize(spec)
    if any(isinstance(axis, str) for axis in spec.shape[1:]) or not data or len(data) % row:
        raise InvalidInputError(
            f"{spec.name}: {len(data)} bytes are not rows of shape {list(spec.shape[1:])}, each "
            f"{row} bytes long",
            field=spec.name,
        )
    shape = [len(data) // row, *(axis for axis in spec.shape[1:] if isinstance(axis, int))]
    tensor = Input(
        spec.name, DATATYPES[spec.dtype], shape, lambda spec: from_raw(spec, shape, data)
    )
    return Wanted([tensor], None, True, priority, deadline_s)


def _json_decode(sent: _Input) -> Decode:
    def decode(spec: TensorSpec) -> NDArray[Any]:
        data = memoryview(sent.data)
        if not data:
            raise InvalidInputError(f"{sent.name}: data is missing", field=sent.name)
        return from_json(spec, sent.shape, data)

    return decode


def _raw_decode(sent: _Input, data: memoryview) -> Decode:
    return lambda spec: from_raw(spec, sent.shape, data)


def _output(asked: _Output, raw: bool) -> Output:
    parameters = asked.parameters or {}
    check_parameters(parameters, ("binary_data", "classification"), asked.name)
    classes = whole(parameters, "classification", maximum=2**31 - 1)
    return Output(asked.name, flag(parameters, "binary_data", default=raw), classes or 0)


def check_parameters(parameters: Mapping[str, object], known: Sequence[str], whose: str) -> None:
    """Raise InvalidInputError for a parameter that would be passed over."""
    for name in parameters:
        if name in known:
            continue
        if name.startswith("sequence_"):
            why = "no model here keeps a state between requests; send the state as a tensor"
        elif name.startswith("shared_memory_"):
            why = "shared memory is not supported; send the tensor with the request"
        else:
            why = f"there is {', '.join(known)}"
        raise InvalidInputError(f"{whose}: {name} is not a parameter here: {why}", field=name)


def flag(parameters: Mapping[str, object], name: str, *, default: bool) -> bool:
    """A parameter that is true or false; raises InvalidInputError for anything else."""
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidInputError(f"{name} must be true or false", field=name)
    return value


def whole(parameters: Mapping[str, object], name: str, *, maximum: int) -> int | None:
    """A parameter from 0 to `maximum`, or None; raises InvalidInputError for anything else."""
    value = parameters.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= maximum:
        raise InvalidInputError(f"{name} must be a whole number from 0 to {maximum}", field=name)
    return value


def priority(parameters: Mapping[str, object], otherwise: int = USUAL) -> int:
    """The queue's priority: 1 goes first, and 0, as in Triton, is `otherwise`."""
    return whole(parameters, "priority", maximum=max(PRIORITIES)) or otherwise


def deadline(parameters: Mapping[str, object], limit_s: float) -> float:
    """`limit_s`, or less if the request's `timeout` in microseconds is; 0 is none."""
    timeout_us = whole(parameters, "timeout", maximum=2**63)
    if not timeout_us:
        return limit_s
    return min(timeout_us / 1e6, limit_s) if limit_s else timeout_us / 1e6


def render(id_: str, inferred: Inferred) -> tuple[bytes, list[bytes | memoryview]]:
    """The answer's JSON, and the raw tensors that follow it."""
    manifest = inferred.manifest
    tensors: list[bytes | memoryview] = []
    outputs: list[dict[str, Any]] = []
    for wanted in inferred.outputs:
        array = inferred.answer.outputs[wanted.name]
        output: dict[str, Any] = {"name": wanted.name}
        outputs.append(output)
        if wanted.classes:
            shape, elements = top_classes(wanted.name, array, wanted.classes, manifest.labels)
            output |= {"datatype": "BYTES", "shape": shape}
            packed: bytes | memoryview = pack_bytes(elements) if wanted.raw else b""
            if not wanted.raw:
                output["data"] = elements
        else:
            datatype = DATATYPES[manifest.output(wanted.name).dtype]
            output |= {"datatype": datatype, "shape": array.shape}
            packed = to_raw(array) if wanted.raw else b""
            if not wanted.raw:
                output["data"] = to_json(wanted.name, array)
        if wanted.raw:
            output["parameters"] = {"binary_data_size": len(packed)}
            tensors.append(packed)
    head: dict[str, Any] = {"model_name": manifest.name, "model_version": manifest.version}
    if id_:
        head["id"] = id_
    return _encoder.encode(head | {"outputs": outputs}), tensors
