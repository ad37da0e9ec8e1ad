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
    """The same of a float32 graph, one row, of what leads to `output`."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    shapes = {weight.name: list(weight.dims) for weight in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        axes = value.type.tensor_type.shape.dim
        shapes[value.name] = [axis.dim_value for axis in axes]  # 0: the batch
    wanted, total = {output}, 0
    for node in reversed(graph.node):
        if wanted.isdisjoint(node.output):
            continue
        wanted |= set(node.input)
        if node.op_type in _COUNTED:
            weights = prod(shapes[node.input[1]])
            places = prod(shapes[node.output[0]][2:]) if node.op_type == "Conv" else 1
            assert weights * places > 0, f"{node.name} has a shape that is not known"
            total += weights * places
    return total
