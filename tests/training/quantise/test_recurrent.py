"""The LSTM in int8: near to float32, and each row by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from service.session import Session
from tests.training.quantise.graphs import picture_plan, text_plan, write_graph
from training.export import export_graph
from training.quantise.recurrent import quantise_recurrent
from training.verify import verify_variant


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("embedding", [0, 8])
def test_near_to_float32_and_rows_alone(tmp_path: Path, layers: int, embedding: int) -> None:
    plan = text_plan(layers=layers, embedding=embedding)
    source, target = write_graph(plan, tmp_path), tmp_path / "int8.onnx"
    assert quantise_recurrent(source, target)
    moved = verify_variant(plan, target, source, seed=0)
    assert all(0 < moved[name] < 0.1 for name in ("logits", "state_out")), moved


def test_a_text_read_at_once_or_step_by_step_is_the_same(tmp_path: Path) -> None:
    plan = text_plan(layers=2)
    source, target = write_graph(plan, tmp_path), tmp_path / "int8.onnx"
    quantise_recurrent(source, target)
    session, inputs = Session(target), plan.draw_inputs(3, np.random.default_rng(0))
    at_once = session.run(inputs)
    state, steps = inputs["state"], []
    for position in range(inputs["token"].shape[1]):
        token = np.ascontiguousarray(inputs["token"][:, position : position + 1])
        outputs = session.run({"token": token, "state": state})
        state = outputs["state_out"]
        steps.append(outputs["logits"])
    np.testing.assert_array_equal(np.concatenate(steps, axis=1), at_once["logits"])
    np.testing.assert_array_equal(state, at_once["state_out"])


def test_a_neighbour_s_wild_state_changes_nothing(tmp_path: Path) -> None:
    """A client may send any state: scales taken from the batch would move with it."""
    plan = text_plan()
    source, target = write_graph(plan, tmp_path), tmp_path / "int8.onnx"
    quantise_recurrent(source, target)
    session, inputs = Session(target), plan.draw_inputs(2, np.random.default_rng(0))
    calm = session.run(inputs)
    inputs["state"][1] *= 1000
    wild = session.run(inputs)
    assert wild["logits"][0].tobytes() == calm["logits"][0].tobytes()
    assert np.isfinite(wild["logits"]).all()


def test_weights_leave_room_for_sums_in_16_bits(tmp_path: Path) -> None:
    source, target = write_graph(text_plan(layers=2), tmp_path), tmp_path / "int8.onnx"
    quantise_recurrent(source, target)
    graph = onnx.load(target)
    (scan,) = graph.graph.node
    (step,) = (attribute.g for attribute in scan.attribute if attribute.name == "body")
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in step.initializer}
    matrices = [array for array in arrays.values() if array.dtype == np.int8]
    assert [matrix.shape for matrix in matrices] == [(16, 64), (32, 64), (16, 11)]
    for matrix in matrices:
        assert np.abs(matrix.astype(int)).max() == 63
        assert 2 * 255 * np.abs(matrix.astype(int)).max() <= np.iinfo(np.int16).max
    assert {entry.key: entry.value for entry in graph.metadata_props} == {"made_by": "a test"}
    assert target.stat().st_size < source.stat().st_size


def test_what_is_no_character_model_has_no_such_form(tmp_path: Path) -> None:
    export_graph(picture_plan(), tmp_path / "model.onnx")
    assert not quantise_recurrent(tmp_path / "model.onnx", tmp_path / "int8.onnx")
    assert not (tmp_path / "int8.onnx").exists()
