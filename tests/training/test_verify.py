"""That the proof of an export can fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from service.contract import TensorSpec
from training.errors import ExportError
from training.export import export_graph
from training.kinds.base import Arrays, Export
from training.verify import GOLDEN_ROWS, verify_graph, write_golden


class Scale(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


class MinusMean(nn.Module):
    """Mixes rows: the sin that batches of requests must never commit."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(dim=0, keepdim=True)


def plan(module: nn.Module, tolerance: float = 1e-6) -> Export:
    def draw_inputs(rows: int, rng: np.random.Generator) -> Arrays:
        return {"x": rng.standard_normal((rows, 3), dtype=np.float32)}

    return Export(
        module=module,
        inputs=(TensorSpec(name="x", dtype="float32", shape=("N", 3)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=("N", 3)),),
        tolerance={"y": tolerance},
        draw_inputs=draw_inputs,
    )


def test_the_largest_difference_is_reported(tmp_path: Path) -> None:
    export_graph(plan(Scale(2.0)), tmp_path / "m.onnx")
    proof = verify_graph(plan(Scale(2.001), tolerance=0.1), tmp_path / "m.onnx", seed=0)
    assert 1e-3 < proof.max_abs_error["y"] < 1e-2


def test_a_graph_of_other_weights_is_refused(tmp_path: Path) -> None:
    export_graph(plan(Scale(2.0)), tmp_path / "m.onnx")
    with pytest.raises(ExportError, match="'y' differs from torch by"):
        verify_graph(plan(Scale(2.001)), tmp_path / "m.onnx", seed=0)


def test_a_graph_without_numbers_is_refused(tmp_path: Path) -> None:
    export_graph(plan(Scale(float("nan"))), tmp_path / "m.onnx")
    with pytest.raises(ExportError, match="by nan"):
        verify_graph(plan(Scale(float("nan"))), tmp_path / "m.onnx", seed=0)


def test_a_graph_that_mixes_rows_is_refused(tmp_path: Path) -> None:
    export_graph(plan(MinusMean()), tmp_path / "m.onnx")
    with pytest.raises(ExportError, match="row 0 of 'y' changes with the batch"):
        verify_graph(plan(MinusMean()), tmp_path / "m.onnx", seed=0)


def test_an_output_of_another_type_is_refused(tmp_path: Path) -> None:
    export_graph(plan(Scale(2.0)), tmp_path / "m.onnx")
    wrong = replace(
        plan(Scale(2.0)), outputs=(TensorSpec(name="y", dtype="uint8", shape=("N", 3)),)
    )
    with pytest.raises(ExportError, match="y is float32"):
        verify_graph(wrong, tmp_path / "m.onnx", seed=0)


def test_golden_outputs_are_the_sessions_own(tmp_path: Path) -> None:
    export_graph(plan(Scale(2.0)), tmp_path / "m.onnx")
    write_golden(plan(Scale(2.0)), tmp_path / "m.onnx", tmp_path / "golden.npz", seed=3)
    with np.load(tmp_path / "golden.npz") as golden:
        assert set(golden) == {"input.x", "output.y"}
        assert golden["input.x"].shape == (GOLDEN_ROWS, 3)
        np.testing.assert_array_equal(golden["output.y"], golden["input.x"] * 2)
