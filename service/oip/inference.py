"""One inference, whatever the transport: what is asked is checked, queued, run.

Both transports describe a request as `Wanted` and hand over a function for each input's elements,
so that nothing is decoded before names, shapes and the queue's room are known to be right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from service.answer import Answer
from service.contract import Manifest, TensorSpec
from service.errors import InvalidInputError, TooLargeError
from service.kinds.base import Kind
from service.oip.tensors import DATATYPES, check_values, itemsize
from service.settings import Settings

Decode = Callable[[TensorSpec], NDArray[Any]]
_JSON_BYTES = 16
"""What an element takes in JSON, about."""


@dataclass(frozen=True, slots=True)
class Input:
    """An input as the client describes it; `decode` makes its array, of that shape."""

    name: str
    datatype: str
    shape: Sequence[int]
    decode: Decode


@dataclass(frozen=True, slots=True)
class Output:
    """An output that is wanted: raw or in JSON; its `classes` largest elements, or, if 0, all."""

    name: str
    raw: bool
    classes: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request. `outputs` None means all of them, raw or not as `raw` says."""

    inputs: Sequence[Input]
    outputs: Sequence[Output] | None
    raw: bool
    priority: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Inferred:
    """What came of it: the outputs in the order asked for, and the arrays."""

    manifest: Manifest
    outputs: Sequence[Output]
    answer: Answer


async def infer(engine: Kind, wanted: Wanted, settings: Settings) -> Inferred:
    """Check, queue and run.

    Raises:
        InvalidInputError: a tensor is missing, unknown, or not as the contract says.
        TooLargeError: more rows, a longer axis or a larger answer than the limits allow.
        OverloadedError, DeadlineExceededError: as `Batcher.submit`.

    """
    manifest = engine.manifest
    axes = _bind(manifest, wanted.inputs, settings)
    outputs = _outputs(manifest, wanted)
    _check_answer(manifest, outputs, axes, settings)
    engine.batcher.admit(axes[_batch_axis(manifest)])
    sent = {one.name: one for one in wanted.inputs}
    arrays: dict[str, NDArray[Any]] = {}
    for spec in manifest.inputs:  # in this order, whatever the client's: alike requests batch
        arrays[spec.name] = sent[spec.name].decode(spec)
        check_values(spec, arrays[spec.name])
    answer = await engine.batcher.submit(
        arrays,
        [output.name for output in outputs],
        timeout_s=wanted.timeout_s,
        priority=wanted.priority,
    )
    return Inferred(manifest, outputs, answer)


def _batch_axis(manifest: Manifest) -> str:
    """The name of the first axis, which all tensors share."""
    name = manifest.inputs[0].shape[0]
    assert isinstance(name, str)
    return name


def _bind(manifest: Manifest, inputs: Sequence[Input], settings: Settings) -> dict[str, int]:
    """Check names, datatypes and shapes; return the size of each dynamic axis."""
    specs = {spec.name: spec for spec in manifest.inputs}
    known = ", ".join(specs)
    seen: set[str] = set()
    axes: dict[str, tuple[int, str]] = {}
    for sent in inputs:
        spec = specs.get(sent.name)
        if spec is None:
            raise InvalidInputError(
                f"{manifest.name} has no input {sent.name!r}; there is {known}", field=sent.name
            )
        if sent.name in seen:
            raise InvalidInputError(f"{sent.name} is there twice", field=sent.name)
        seen.add(sent.name)
        if sent.datatype != DATATYPES[spec.dtype]:
            raise InvalidInputError(
                f"{sent.name}: datatype must be {DATATYPES[spec.dtype]}, not {sent.datatype}",
                field=sent.name,
            )
        _bind_shape(spec, sent.shape, axes)
    if missing := [name for name in specs if name not in seen]:
        raise InvalidInputError(
            f"input {missing[0]} is missing; {manifest.name} needs {known}", field=missing[0]
        )
    batch = _batch_axis(manifest)
    for axis, (size, name) in axes.items():
        if axis != batch and size > settings.max_prompt_chars:
            raise TooLargeError(
                f"{name}: axis {axis} is {size} long; the limit is {settings.max_prompt_chars}",
                field=name,
            )
    return {axis: size for axis, (size, _) in axes.items()}


def _bind_shape(spec: TensorSpec, shape: Sequence[int], axes: dict[str, tuple[int, str]]) -> None:
    declared = [-1 if isinstance(axis, str) else axis for axis in spec.shape]
    if len(shape) != len(declared) or any(
        size != fixed for size, fixed in zip(shape, declared, strict=True) if fixed != -1
    ):
        raise InvalidInputError(
            f"{spec.name}: shape {list(shape)} is not {declared}, where -1 is any size",
            field=spec.name,
        )
    for axis, size in zip(spec.shape, shape, strict=True):
        if size < 1:
            raise InvalidInputError(
                f"{spec.name}: shape {list(shape)} has an axis below 1", field=spec.name
            )
        if isinstance(axis, str):
            bound, owner = axes.setdefault(axis, (size, spec.name))
            if bound != size:
                raise InvalidInputError(
                    f"{spec.name}: axis {axis} is {size} long, but {bound} in {owner}",
                    field=spec.name,
                )


def _outputs(manifest: Manifest, wanted: Wanted) -> Sequence[Output]:
    names = [spec.name for spec in manifest.outputs]
    if not wanted.outputs:
        return [Output(name, wanted.raw) for name in names]
    seen: set[str] = set()
    for output in wanted.outputs:
        if output.name not in names:
            raise InvalidInputError(
                f"{manifest.name} has no output {output.name!r}; there is {', '.join(names)}",
                field=output.name,
            )
        if output.name in seen:
            raise InvalidInputError(f"{output.name} is asked for twice", field=output.name)
        seen.add(output.name)
        rank = len(manifest.output(output.name).shape)
        if output.classes and rank != 2:
            raise InvalidInputError(
                f"{output.name}: classification needs an output of shape [rows, classes]; this "
                f"one has {rank} axes",
                field=output.name,
            )
    return wanted.outputs


def _check_answer(
    manifest: Manifest, outputs: Sequence[Output], axes: Mapping[str, int], settings: Settings
) -> None:
    """Refuse before the run what could not be answered: a few tokens make many logits."""
    size = 0
    for output in outputs:
        spec = manifest.output(output.name)
        elements = math.prod(
            axes.get(axis, 1) if isinstance(axis, str) else axis for axis in spec.shape
        )
        size += elements * (itemsize(spec) if output.raw or output.classes else _JSON_BYTES)
    if size > settings.max_answer_bytes:
        raise TooLargeError(
            f"the answer would take {size} bytes; the limit is {settings.max_answer_bytes}: ask "
            "for fewer rows or outputs, or for binary_data"
        )
