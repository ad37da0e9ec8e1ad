"""The arrays of a character model's float32 graph: what is read of it to quantise it, and to begin
a fit with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Cell:
    """An LSTM operator's inputs, gates in the order i, o, f, g."""

    input: Floats
    """[4H, I]"""
    recurrent: Floats
    """[4H, H]"""
    bias: Floats
    """[8H]: of the input, then of the recurrence."""


@dataclass(frozen=True)
class TextGraph:
    """An embedding, LSTM operators and a linear classifier."""

    table: Floats
    """[V, I]"""
    cells: tuple[Cell, ...]
    head: Floats
    """[H, V]"""
    head_bias: Floats
    """[V]"""


def read_text_graph(model: onnx.ModelProto) -> TextGraph | None:
    """None if the graph is made in another way."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    cells = [node for node in model.graph.node if node.op_type == "LSTM"]
    gathers = [node for node in model.graph.node if node.op_type == "Gather"]
    tables = [arrays[node.input[0]] for node in gathers if "token" in node.input]
    heads = [node for node in model.graph.node if node.op_type == "MatMul"]
    if not cells or len(tables) != 1 or len(heads) != 1:
        return None
    sums = [node for node in model.graph.node if heads[0].output[0] in node.input]
    biases = [arrays[name] for node in sums for name in node.input if name in arrays]
    head = arrays[heads[0].input[1]]
    return TextGraph(
        table=tables[0],
        cells=tuple(Cell(*(arrays[name][0] for name in cell.input[1:4])) for cell in cells),
        head=head,
        head_bias=biases[0] if biases else np.zeros(head.shape[1], np.float32),
    )
