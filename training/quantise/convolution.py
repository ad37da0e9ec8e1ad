"""A convolutional classifier with int8 weights and activations, scales fixed on training images.

Quantise and dequantise pairs (QDQ) stand around the convolutions of the trunk; onnxruntime makes
each pair of them one int8 operator. Static scales keep rows independent of their batch.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

CALIBRATION_IMAGES = 500  # the extremes of activations hardly move with more
_ROWS = 50
_OPERATORS = ("Conv", "Relu")


def quantise_convolutions(graph: Path, target: Path, image_NHWC: NDArray[np.uint8]) -> bool:
    """Write the int8 form of a classifier's graph: the same inputs and outputs.

    Three things stay float32: the first convolution, which costs little and whose whitening
    filters range over two decades; the class maps of the last feature map, which are shown and not
    passed on; and all behind the pooling of that map.

    Args:
        graph: `image` uint8 [N,H,W,3] to any outputs, the answer first.
        target: where to write.
        image_NHWC: what the scales are fixed on; images of the training split.

    Returns False, and writes nothing, if the graph has no convolution to quantise.

    """
    source = onnx.load(graph)
    convolutions = [node for node in source.graph.node if node.op_type == "Conv"]
    answering = _leading_to(source.graph, source.graph.output[0].name)
    kept = [node.name for node in convolutions if node.output[0] not in answering]
    kept += [node.name for node in convolutions[:1]]
    if len(kept) >= len(convolutions):
        return False
    with _quiet(), TemporaryDirectory() as scratch:
        made = Path(scratch) / target.name
        quantize_static(
            graph,
            made,
            _Images(image_NHWC),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_OPERATORS),
            nodes_to_exclude=kept,
            per_channel=True,
            # Unsigned by signed is what onnxruntime has fast kernels for, and 7 bits of weight are
            # what processors without VNNI can add up in their 16 bits.
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=True,
            calibrate_method=CalibrationMethod.MinMax,
        )
        model = onnx.load(made)
    del model.metadata_props[:]  # the runtime's marks of its own passes
    model.metadata_props.extend(source.metadata_props)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)
    return True


def _leading_to(graph: onnx.GraphProto, output: str) -> set[str]:
    """The names of `output` and of all that it is made of."""
    names = {output}
    for node in reversed(graph.node):  # a graph's nodes stand in the order of their running
        if not names.isdisjoint(node.output):
            names |= set(node.input)
    return names


class _Images(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, image_NHWC: NDArray[np.uint8]) -> None:
        starts = range(0, len(image_NHWC), _ROWS)
        self._parts = iter([{"image": image_NHWC[start : start + _ROWS]} for start in starts])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._parts, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """It advises, on the root logger, to run passes that change nothing in these graphs."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
