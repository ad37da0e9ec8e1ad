"""An LSTM with int8 weights whose rows do not depend on each other.

onnxruntime's own `quantize_dynamic` takes the scale of the activations over the whole batch, so
that a sequence's neighbours move its logits. Here every scale is fixed beforehand: what is
multiplied by quantised weights is hidden state alone, and that lies in (-1, 1). So the cell is
written out in the graph, stepped by a Scan:

    gates = table[token] + scale * (int8 weights . round(127 h))

`table` [V, 4H] is embedding, input weights and biases of the first layer in one, and stays float32:
it is looked up, not multiplied. Further layers multiply the h below and their own by one matrix.
Sums of integers are exact, so their order, and with it the batch, cannot matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from training.textgraph import Cell, Floats, read_text_graph

_DOMAIN = "com.microsoft"  # onnxruntime's own operators: there in every build of it
_H_STEPS, _H_ZERO = 127, 128
"""h is stored as 128 + 127 h: onnxruntime is fast for unsigned activations by signed weights."""
_WEIGHT_STEPS = 63
"""A column's largest weight. Processors without VNNI add two products in 16 bits, where
2 * 255 * 127 would be cut off and 2 * 255 * 63 is not: every processor finds the same sums."""


@dataclass(frozen=True)
class _Layer:
    """`weight` [K, 4H] multiplies the h below (where there is one) and the layer's own; `added`
    is a row for each token [V, 4H] for the first layer, one row [4H] for the others. Gates are in
    the order i, f, o, g: one Sigmoid for three, one Tanh for the last.
    """

    weight: Floats
    added: Floats


@dataclass(frozen=True)
class _Network:
    layers: tuple[_Layer, ...]
    head: Floats
    """[H, V]"""
    head_bias: Floats

    @property
    def hidden(self) -> int:
        return len(self.head)


def quantise_recurrent(graph: Path, target: Path) -> bool:
    """Write the int8 form of a character model's graph: the same inputs and outputs.

    Args:
        graph: `token` int64 [N,T] and `state` float32 [N,S] to `logits` float32 [N,T,V] and
            `state_out` float32 [N,S]: an embedding, LSTM operators, a linear classifier.
        target: where to write.

    Returns False, and writes nothing, if the graph is made in another way.

    """
    source = onnx.load(graph)
    network = _read(source)
    if network is None:
        return False
    made = _build(network, source)
    made.metadata_props.extend(source.metadata_props)
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, target)
    return True


def _read(model: onnx.ModelProto) -> _Network | None:
    graph = read_text_graph(model)
    if graph is None:
        return None
    first, *others = graph.cells
    layers = (_layer(first, graph.table), *(_layer(cell, None) for cell in others))
    return _Network(layers, graph.head, graph.head_bias)


def _layer(cell: Cell, table: Floats | None) -> _Layer:
    """From an operator's gates in the order i, o, f, g."""

    def columns(rows: Floats) -> Floats:
        i, o, f, g = np.split(rows, 4)
        return np.concatenate((i, f, o, g)).T

    bias_G = columns(cell.bias[: len(cell.bias) // 2] + cell.bias[len(cell.bias) // 2 :])
    below, own = columns(cell.input), columns(cell.recurrent)
    if table is not None:
        return _Layer(own, (table.astype(np.float64) @ below + bias_G).astype(np.float32))
    return _Layer(np.concatenate((below, own)), bias_G)


def _build(network: _Network, source: onnx.ModelProto) -> onnx.ModelProto:
    hidden, count = network.hidden, len(network.layers)
    states = [f"{part}{layer}" for part in "hc" for layer in range(count)]
    constants: dict[str, NDArray[Any]] = {
        "parts": np.full(2 * count, hidden),
        "sigmoids_and_tanh": np.array([3 * hidden, hidden]),
        "gates": np.full(3, hidden),
        "h_scale": np.array(1 / _H_STEPS, np.float32),
        "h_zero": np.array(_H_ZERO, np.uint8),
    }
    body = [
        helper.make_node("Gather", ["table", "token_N"], ["added0"]),
        helper.make_node("Split", ["state_NS", "parts"], states, axis=1),
    ]
    below: list[str] = []
    for layer, weights in enumerate(network.layers):
        body += _cell(str(layer), below)
        below = [f"y{layer}.int8"]
        quantised, scale = _quantise_columns(weights.weight)
        constants |= {f"weight{layer}": quantised, f"scale{layer}": scale / np.float32(_H_STEPS)}
        constants["table" if layer == 0 else f"added{layer}"] = weights.added
    quantised, scale = _quantise_columns(network.head)
    constants |= {"head": quantised, "head_scale": scale, "head_bias": network.head_bias}
    body.append(
        helper.make_node(
            "MatMulIntegerToFloat",
            [*below, "head", "h_scale", "head_scale", "h_zero", "", "head_bias"],
            ["logits_NV"],
            domain=_DOMAIN,
        )
    )
    carried = [f"{name}.next" for name in states]
    body.append(helper.make_node("Concat", carried, ["state_NS.next"], axis=1))
    step = helper.make_graph(
        body,
        "step",
        [
            _floats("state_NS", hidden * len(states)),
            helper.make_tensor_value_info("token_N", TensorProto.INT64, ["N"]),
        ],
        [
            _floats("state_NS.next", hidden * len(states)),
            _floats("logits_NV", len(network.head_bias)),
        ],
        # Beside the nodes that read them: looked up from outside, they cost a step 3 of its 40
        # microseconds.
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    # One state, not one for each layer's h and c: each costs a step of a single row a microsecond.
    scan = helper.make_node(
        "Scan",
        ["state", "token"],
        ["state_out", "logits"],
        body=step,
        num_scan_inputs=1,
        scan_input_axes=[1],
        scan_output_axes=[1],
    )
    graph = helper.make_graph(
        [scan],
        "int8",
        source.graph.input,
        source.graph.output,
    )
    opsets = [*source.opset_import, helper.make_opsetid(_DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=source.ir_version)


def _cell(layer: str, below: Sequence[str]) -> Iterator[onnx.NodeProto]:
    """One layer's step: from `h`, `c` and the quantised h below to the next `h` and `c`."""

    def node(operator: str, inputs: Sequence[str], outputs: str, **attributes: Any) -> Any:
        return helper.make_node(operator, inputs, outputs.split(), **attributes)

    own = f"h{layer}.int8"
    yield node("QuantizeLinear", [f"h{layer}", "h_scale", "h_zero"], own)
    if below:
        yield node("Concat", [*below, own], f"both{layer}", axis=1)
        own = f"both{layer}"
    yield node("MatMulInteger", [own, f"weight{layer}", "h_zero"], f"sum{layer}")
    yield node("Cast", [f"sum{layer}"], f"product{layer}.float", to=TensorProto.FLOAT)
    yield node("Mul", [f"product{layer}.float", f"scale{layer}"], f"product{layer}")
    yield node("Add", [f"product{layer}", f"added{layer}"], f"gates{layer}")
    halves = f"open{layer}.before new{layer}.before"
    yield node("Split", [f"gates{layer}", "sigmoids_and_tanh"], halves, axis=1)
    yield node("Sigmoid", [f"open{layer}.before"], f"open{layer}")
    yield node("Tanh", [f"new{layer}.before"], f"new{layer}")
    yield node("Split", [f"open{layer}", "gates"], f"i{layer} f{layer} o{layer}", axis=1)
    yield node("Mul", [f"f{layer}", f"c{layer}"], f"kept{layer}")
    yield node("Mul", [f"i{layer}", f"new{layer}"], f"taken{layer}")
    yield node("Add", [f"kept{layer}", f"taken{layer}"], f"c{layer}.next")
    yield node("Tanh", [f"c{layer}.next"], f"shown{layer}")
    yield node("Mul", [f"o{layer}", f"shown{layer}"], f"h{layer}.next")
    yield node("QuantizeLinear", [f"h{layer}.next", "h_scale", "h_zero"], f"y{layer}.int8")


def _floats(name: str, size: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])


def _quantise_columns(weight_KG: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Symmetric, one scale [G] for each column."""
    scale_G = np.abs(weight_KG).max(axis=0) / np.float32(_WEIGHT_STEPS)
    scale_G[scale_G == 0] = 1.0
    return np.rint(weight_KG / scale_G).astype(np.int8), scale_G
