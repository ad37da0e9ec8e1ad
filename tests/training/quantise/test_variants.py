"""Both graphs of a candidate: proved, measured, and told apart from others."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from service.contract import GRAPH_FILE, INT8_GOLDEN_FILE, INT8_GRAPH_FILE
from service.loading import golden
from service.session import Session
from tests.training.quantise.graphs import text_plan, write_graph
from training.errors import ExportError
from training.quantise.choice import Demand
from training.quantise.recurrent import quantise_recurrent
from training.quantise.timing import rows_per_s
from training.quantise.variants import Variants, compare_variants, float32_alone

DEMAND = Demand("loss", "min", most_loss=0.01, timed_rows=2)


def score(graph: Path) -> dict[str, float]:
    return {"loss": 1.005 if graph.name == INT8_GRAPH_FILE else 1.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    graph = write_graph(text_plan(), tmp_path)
    assert quantise_recurrent(graph, tmp_path / INT8_GRAPH_FILE)
    return tmp_path


def test_both_are_measured_and_the_int8_one_has_golden_outputs(folder: Path) -> None:
    found = compare_variants(text_plan(), folder, DEMAND, score=score, seed=0, wanted="int8")
    assert [variant.precision for variant in found.variants] == ["float32", "int8"]
    assert [variant.metrics["loss"] for variant in found.variants] == [1.0, 1.005]
    assert all(variant.rows_per_s for variant in found.variants)
    assert found.choice is not None
    assert found.choice.loss == pytest.approx(0.005)
    assert found.check(folder) == folder / INT8_GRAPH_FILE
    inputs, outputs = golden(folder, INT8_GOLDEN_FILE)
    again = Session(folder / INT8_GRAPH_FILE).run(inputs)
    for name, expected in outputs.items():
        np.testing.assert_array_equal(again[name], expected)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Variants) == found


@pytest.mark.parametrize("file", [GRAPH_FILE, INT8_GRAPH_FILE, INT8_GOLDEN_FILE])
def test_files_that_were_not_measured_are_refused(folder: Path, file: str) -> None:
    found = compare_variants(text_plan(), folder, DEMAND, score=score, seed=0, wanted="int8")
    (folder / file).write_bytes(b"another")
    with pytest.raises(ExportError, match=f"{file} was not measured"):
        found.check(folder)


def test_one_variant_needs_no_choice(folder: Path) -> None:
    found = float32_alone(text_plan(), folder)
    assert found.choice is None
    assert found.check(folder) == folder / GRAPH_FILE


def test_an_int8_graph_that_mixes_rows_is_refused(folder: Path) -> None:
    """As `quantize_dynamic` does: it takes scales over the batch."""
    path = folder / INT8_GRAPH_FILE
    model = onnx.load(path)
    for node in model.graph.node:
        for position, name in enumerate(node.output):
            if name == "logits":
                node.output[position] = "own"
    model.graph.node.extend(
        [
            helper.make_node("ReduceMax", ["own"], ["largest"], keepdims=0),
            helper.make_node("Mul", ["largest", "little"], ["shift"]),
            helper.make_node("Add", ["own", "shift"], ["logits"]),
        ]
    )
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1e-3), "little"))
    onnx.save(model, path)
    with pytest.raises(ExportError, match="'logits' changes with the batch"):
        compare_variants(text_plan(), folder, DEMAND, score=score, seed=0)


def test_the_clock_tells_much_work_from_little(tmp_path: Path) -> None:
    rng, paths = np.random.default_rng(0), {}
    for products in (1, 30):
        names = ["x", *(f"h{step}" for step in range(1, products)), "y"]
        made = helper.make_graph(
            [
                helper.make_node("MatMul", [before, "weight"], [after])
                for before, after in pairwise(names)
            ],
            "products",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 256])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 256])],
            [
                numpy_helper.from_array(
                    rng.standard_normal((256, 256), dtype=np.float32) / 16, "weight"
                )
            ],
        )
        opsets = [helper.make_opsetid("", 18)]
        paths[products] = tmp_path / f"{products}.onnx"
        onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=9), paths[products])
    inputs = {"x": rng.standard_normal((32, 256), dtype=np.float32)}
    speed = rows_per_s(paths, inputs, rounds=5)
    assert speed[1] > 3 * speed[30] > 0
