"""Statically quantised variants of float32 graphs: weights and activations as int8."""

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
from tests.service.variants import write_golden


class _Golden(CalibrationDataReader):  # type: ignore[misc]
    """Scales are fixed on the golden inputs: what a batch holds later does not move them."""

    def __init__(self, folder: Path) -> None:
        inputs, _ = golden(folder)
        self._rows: Iterator[dict[str, Any]] = iter([inputs])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._rows, None)


def quantise(folder: Path) -> None:
    """Replace a version's graph by its int8 form, and its golden outputs by what that gives."""
    source, target = folder / GRAPH_FILE, folder / "int8.onnx"
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
    kinds = [node.op_type for node in onnx.load(target).graph.node]
    assert "DequantizeLinear" in kinds, f"nothing was quantised: {set(kinds)}"
    target.replace(source)
    inputs, outputs = golden(folder)
    found = Session(source).run(inputs, list(outputs))
    write_golden(folder, inputs, {name: np.asarray(array) for name, array in found.items()})
