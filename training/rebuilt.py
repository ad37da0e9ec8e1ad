"""A served classifier's float32 graph as a torch module again, for its gradients.

It is rebuilt from the ONNX file, operator by operator, so that what is attacked is what is served
and no checkpoint is needed. Only what leads from the image to the logits is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional as F

from training.errors import ExportError

Attributes = Mapping[str, Any]
Operator = Callable[[Sequence[torch.Tensor], Attributes], torch.Tensor]


class RebuiltClassifier(nn.Module):
    """float32 images [N,H,W,3] of grey levels 0..255 to logits [N,C], differentiable.

    Raises ExportError for a graph with an operator that is not known here.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        graph = onnx.load(path).graph
        self._constants = {t.name: _tensor(t) for t in graph.initializer}
        needed = leading_to(graph, "probability")
        last = needed.pop()
        if last.op_type != "Softmax":
            raise ExportError(f"{path}: probability comes from {last.op_type}, not from Softmax")
        self._logits = last.input[0]
        self._steps: list[tuple[Operator, list[str], str, Attributes]] = []
        for node in needed:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Constant":
                self._constants[node.output[0]] = _tensor(attributes["value"])
            elif node.op_type in _OPERATORS:
                step = (_OPERATORS[node.op_type], list(node.input), node.output[0], attributes)
                self._steps.append(step)
            else:
                raise ExportError(f"{path}: no gradient is known of operator {node.op_type}")

    def forward(self, image_NHWC: torch.Tensor) -> torch.Tensor:
        """Logits [N,C] before the softmax."""
        values = {"image": image_NHWC, **self._constants}
        for operator, inputs, output, attributes in self._steps:
            values[output] = operator([values[name] for name in inputs if name], attributes)
        return values[self._logits]


def leading_to(graph: onnx.GraphProto, output: str) -> list[onnx.NodeProto]:
    """The nodes that `output` is computed from, in the graph's order, which is one of execution."""
    made_by = {name: node for node in graph.node for name in node.output}
    needed, waiting = set(), [output]
    while waiting:
        name = waiting.pop()
        if name in made_by and name not in needed:
            needed.add(name)
            waiting += made_by[name].input
    return [node for node in graph.node if needed.intersection(node.output)]


def _tensor(proto: onnx.TensorProto) -> torch.Tensor:
    return torch.from_numpy(np.array(numpy_helper.to_array(proto)))  # a copy that may be written


def _padded(x: torch.Tensor, attributes: Attributes, fill: float) -> torch.Tensor:
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise ExportError("automatic padding is not known here")
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    return F.pad(x, (left, right, top, bottom), value=fill)


def _conv(inputs: Sequence[torch.Tensor], attributes: Attributes) -> torch.Tensor:
    return F.conv2d(
        _padded(inputs[0], attributes, 0.0),
        inputs[1],
        inputs[2] if len(inputs) > 2 else None,
        stride=tuple(attributes.get("strides", (1, 1))),
        dilation=tuple(attributes.get("dilations", (1, 1))),
        groups=attributes.get("group", 1),
    )


def _max_pool(inputs: Sequence[torch.Tensor], attributes: Attributes) -> torch.Tensor:
    return F.max_pool2d(
        _padded(inputs[0], attributes, -torch.inf),
        tuple(attributes["kernel_shape"]),
        stride=tuple(attributes.get("strides", (1, 1))),
        dilation=tuple(attributes.get("dilations", (1, 1))),
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
    )


def _average_pool(inputs: Sequence[torch.Tensor], attributes: Attributes) -> torch.Tensor:
    if any(attributes.get("pads", ())) and not attributes.get("count_include_pad", 0):
        raise ExportError("average pooling that leaves its padding out is not known here")
    return F.avg_pool2d(
        _padded(inputs[0], attributes, 0.0),
        tuple(attributes["kernel_shape"]),
        stride=tuple(attributes.get("strides", (1, 1))),
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
    )


def _mean(inputs: Sequence[torch.Tensor], attributes: Attributes) -> torch.Tensor:
    return inputs[0].mean(
        dim=_axes(inputs, attributes), keepdim=bool(attributes.get("keepdims", 1))
    )


def _maximum(inputs: Sequence[torch.Tensor], attributes: Attributes) -> torch.Tensor:
    return inputs[0].amax(
        dim=_axes(inputs, attributes), keepdim=bool(attributes.get("keepdims", 1))
    )


def _axes(inputs: Sequence[torch.Tensor], attributes: Attributes) -> list[int]:
    return inputs[1].tolist() if len(inputs) > 1 else list(attributes["axes"])


def _gemm(inputs: Sequence[torch.Tensor], attributes: Attributes) -> torch.Tensor:
    a = inputs[0].T if attributes.get("transA", 0) else inputs[0]
    b = inputs[1].T if attributes.get("transB", 0) else inputs[1]
    product = (a @ b) * float(attributes.get("alpha", 1.0))
    if len(inputs) > 2:
        product = product + inputs[2] * float(attributes.get("beta", 1.0))
    return product


def _reshape(inputs: Sequence[torch.Tensor], attributes: Attributes) -> torch.Tensor:
    x, sizes = inputs[0], [int(size) for size in inputs[1]]
    if not attributes.get("allowzero", 0):
        sizes = [x.shape[at] if size == 0 else size for at, size in enumerate(sizes)]
    return x.reshape(sizes)


def _slice(inputs: Sequence[torch.Tensor], attributes: Attributes) -> torch.Tensor:
    x, starts, ends = inputs[0], inputs[1].tolist(), inputs[2].tolist()
    axes = inputs[3].tolist() if len(inputs) > 3 else list(range(len(starts)))
    steps = inputs[4].tolist() if len(inputs) > 4 else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        taken = range(x.shape[axis])[slice(start, end, step)]  # Python's rules are ONNX's
        x = x.index_select(axis, torch.tensor(list(taken), device=x.device))
    return x


def _gather(inputs: Sequence[torch.Tensor], attributes: Attributes) -> torch.Tensor:
    x, index, axis = inputs[0], inputs[1], attributes.get("axis", 0)
    if index.ndim > 1:
        raise ExportError("gathering by more than a list is not known here")
    taken = x.index_select(axis, index.reshape(-1))
    return taken if index.ndim else taken.squeeze(axis)


_OPERATORS: Mapping[str, Operator] = {
    "Add": lambda x, _: x[0] + x[1],
    "AveragePool": _average_pool,
    "Cast": lambda x, _: x[0],  # grey levels come as float32 already
    "Concat": lambda x, a: torch.cat(list(x), dim=a["axis"]),
    "Conv": _conv,
    "Div": lambda x, _: x[0] / x[1],
    "Flatten": lambda x, a: x[0].flatten(a.get("axis", 1)),
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda x, _: x[0].mean(dim=(2, 3), keepdim=True),
    "Identity": lambda x, _: x[0],
    "MatMul": lambda x, _: x[0] @ x[1],
    "MaxPool": _max_pool,
    "Mul": lambda x, _: x[0] * x[1],
    "ReduceMax": _maximum,
    "ReduceMean": _mean,
    "Reshape": _reshape,
    "Relu": lambda x, _: F.relu(x[0]),
    "Sigmoid": lambda x, _: torch.sigmoid(x[0]),
    "Slice": _slice,
    "Squeeze": lambda x, _: x[0].squeeze(tuple(x[1].tolist())),
    "Sub": lambda x, _: x[0] - x[1],
    "Transpose": lambda x, a: x[0].permute(tuple(a["perm"])),
}
