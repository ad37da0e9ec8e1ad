"""A reference classifier that anyone can make again: fixed weights, no training, no download.

A strided convolutional network over 32x32 pictures of about 412 thousand parameters and 30
million multiply-adds, weights drawn from seed 0: the work of a small classifier, for comparing
servers. `image` uint8 [N, 32, 32, 3] -> `probability` float32 [N, 10].
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
CHANNELS = ((3, 32, 1), (32, 64, 2), (64, 96, 1), (96, 128, 2), (128, 194, 2))
"""In, out, stride of each 3x3 convolution: 32x32, 16x16, 16x16, 8x8, 4x4."""
CLASSES = 10


def reference_model() -> onnx.ModelProto:
    """The graph with its weights."""
    rng = np.random.default_rng(0)
    weights: list[onnx.TensorProto] = []
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["x0"], perm=[0, 3, 1, 2]),
    ]

    def weight(name: str, array: NDArray[np.float32]) -> str:
        weights.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    weight("scale", np.float32(1 / 255).reshape(()))
    for index, (before, after, stride) in enumerate(CHANNELS):
        size = (after, before, 3, 3)
        kernel = rng.standard_normal(size) * np.sqrt(2 / (9 * before))  # He et al. 2015
        names = [weight(f"kernel{index}", kernel), weight(f"bias{index}", np.zeros(after))]
        nodes += [
            helper.make_node(
                "Conv", [f"x{index}", *names], [f"y{index}"],
                kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[stride, stride],
            ),
            helper.make_node("Relu", [f"y{index}"], [f"x{index + 1}"]),
        ]  # fmt: skip
    last = CHANNELS[-1][1]
    matrix = weight("matrix", rng.standard_normal((last, CLASSES)) / np.sqrt(last))
    offset = weight("offset", np.zeros(CLASSES))
    nodes += [
        helper.make_node("GlobalAveragePool", [f"x{len(CHANNELS)}"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["feature"]),
        helper.make_node("Gemm", ["feature", matrix, offset], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probability"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "reference",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 32, 32, 3])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["N", CLASSES])],
        initializer=weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 10  # what every onnxruntime in use reads
    onnx.checker.check_model(model, full_check=True)
    return model


def parameters(model: onnx.ModelProto) -> int:
    """How many numbers the graph's weights hold."""
    return sum(int(np.prod(weight.dims)) for weight in model.graph.initializer)
