"""How many multiply-adds an image costs: of a torch network, and of a graph."""

from __future__ import annotations

from math import prod

import onnx
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.bench.plane.networks import SIZE, Network

_COUNTED = ("Conv", "Gemm", "MatMul")


def network_multiply_adds(network: Network) -> int:
    """Of convolutions and matrix products, as torch counts them; a flop is half of one."""
    image_BCHW = torch.zeros((1, 3, SIZE, SIZE), device=next(network.parameters()).device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image_BCHW)
    return int(counter.get_total_flops()) // 2


def graph_multiply_adds(model: onnx.ModelProto, output: str = "probability") -> int:
    """The same of a float32 graph, asked for one row, of what leads to `output`."""
    model = _of_one_row(model)
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    shapes = {weight.name: list(weight.dims) for weight in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes[value.name] = [axis.dim_value for axis in value.type.tensor_type.shape.dim]
    wanted, total = {output}, 0
    for node in reversed(graph.node):
        if wanted.isdisjoint(node.output):
            continue
        wanted |= set(node.input)
        if node.op_type in _COUNTED:
            weights = prod(shapes[node.input[1]])
            made = shapes[node.output[0]]
            places = made[0] * prod(made[2:]) if node.op_type == "Conv" else made[0]
            assert weights * places > 0, f"{node.name} has a shape that is not known"
            total += weights * places
    return total


def _of_one_row(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose batch is 1: a graph may make several rows of one, a mirror image's say."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return fixed
