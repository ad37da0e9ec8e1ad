"""Models whose only graph is int8: what determinism is tested on where batches are large.

Classifier and text model by the pipeline's own quantisers. Generators have none: what
`quantize_static` makes of one is no good picture, but its rows must keep apart all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from service.contract import GRAPH_FILE
from service.loading import golden
from service.session import Session
from tests.service.variants import read_manifest, write_golden
from training.quantise.convolution import quantise_convolutions
from training.quantise.recurrent import quantise_recurrent


class _Golden(CalibrationDataReader):  # type: ignore[misc]
    """Scales are fixed on the golden inputs: what a batch holds later does not move them."""

    def __init__(self, folder: Path) -> None:
        inputs, _ = golden(folder)
        self._rows: Iterator[dict[str, Any]] = iter([inputs])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._rows, None)


def _weights(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """A graph's own, and those of the steps that its nodes repeat."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _weights(attribute.g)


def quantise(folder: Path) -> None:
    """Replace a version's graph by its int8 form, and its golden outputs by what that gives."""
    source, target = folder / GRAPH_FILE, folder / "int8.onnx"
    kind = read_manifest(folder).kind
    if kind == "lstm":
        assert quantise_recurrent(source, target)
    elif kind == "cnn":
        assert quantise_convolutions(source, target, golden(folder)[0]["image"])
    else:
        quantize_static(
            source,
            target,
            _Golden(folder),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
        )
    types = {tensor.data_type for tensor in _weights(onnx.load(target).graph)}
    assert onnx.TensorProto.INT8 in types, "nothing was quantised"
    target.replace(source)
    inputs, outputs = golden(folder)
    found = Session(source).run(inputs, list(outputs))
    write_golden(folder, inputs, {name: np.asarray(array) for name, array in found.items()})
