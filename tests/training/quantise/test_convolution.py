"""The classifier in int8: near to float32, rows by themselves, and what has to stays float32."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.training.quantise.graphs import picture_plan, text_plan, write_graph
from training.quantise.convolution import quantise_convolutions
from training.verify import verify_variant


def pictures(rows: int) -> np.ndarray:  # type: ignore[type-arg]
    return picture_plan().draw_inputs(rows, np.random.default_rng(1))["image"]


@pytest.mark.parametrize("convolutions", [2, 3])
def test_near_to_float32_and_rows_alone(
    convolutions: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = picture_plan(convolutions)
    source, target = write_graph(plan, tmp_path), tmp_path / "int8.onnx"
    assert quantise_convolutions(source, target, pictures(60))
    moved = verify_variant(plan, target, source, seed=0)
    assert 0 < moved["probability"] < 0.05, moved
    graph = onnx.load(target)
    assert {entry.key: entry.value for entry in graph.metadata_props} == {"made_by": "a test"}
    assert caplog.records == []
    logging.getLogger().warning("heard again")
    assert len(caplog.records) == 1


@pytest.mark.parametrize("convolutions", [2, 3])
def test_the_first_convolution_and_the_class_maps_stay_float32(
    convolutions: int, tmp_path: Path
) -> None:
    source, target = write_graph(picture_plan(convolutions), tmp_path), tmp_path / "int8.onnx"
    quantise_convolutions(source, target, pictures(10))
    graph = onnx.load(target).graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    int8 = [made_by.get(node.input[1]) == "DequantizeLinear" for node in nodes]
    assert int8 == [False, *[True] * 2 * convolutions, False]


def test_a_graph_without_convolutions_has_no_such_form(tmp_path: Path) -> None:
    source = write_graph(text_plan(), tmp_path)
    assert not quantise_convolutions(source, tmp_path / "int8.onnx", pictures(1))
    assert not (tmp_path / "int8.onnx").exists()
