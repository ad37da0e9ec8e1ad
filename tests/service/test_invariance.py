"""The self-check at load: it passes sound graphs and names what a batch disturbs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from service.invariance import warm
from service.session import Session
from service.store import Store


def graph(
    path: Path, *nodes: onnx.NodeProto, initializers: dict[str, np.ndarray] | None = None
) -> Session:  # type: ignore[type-arg]
    """x [N, 4] -> y [N, 4] through `nodes`."""
    made = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(array, name) for name, array in (initializers or {}).items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return Session(path)


def test_a_row_wise_graph_is_invariant(tmp_path: Path) -> None:
    session = graph(tmp_path / "g.onnx", helper.make_node("Tanh", ["x"], ["y"]))
    found = warm(session, {}, (1, 64))
    assert found.holds
    assert found.batches == (1, 2, 7, 64)
    assert found.differing == ()


def test_a_mean_over_the_batch_is_found_out(tmp_path: Path) -> None:
    session = graph(
        tmp_path / "g.onnx",
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    )
    found = warm(session, {}, (1, 64))
    assert not found.holds
    assert found.differing == ("y",)


def test_a_scale_taken_over_the_batch_is_found_out(tmp_path: Path) -> None:
    """What `quantize_dynamic` makes of a matrix product."""
    session = graph(
        tmp_path / "g.onnx",
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    )
    assert not warm(session, {}, (1, 64)).holds


@pytest.mark.parametrize("rows", [(1,), (2,), (1, 4)])
def test_small_batches_are_compared_as_far_as_they_go(
    tmp_path: Path, rows: tuple[int, ...]
) -> None:
    session = graph(tmp_path / "g.onnx", helper.make_node("Neg", ["x"], ["y"]))
    found = warm(session, {}, rows)
    assert found.holds
    assert max(found.batches) == max(rows)


def test_the_published_models_are_invariant_here(tiny_store: Path) -> None:
    store = Store(tiny_store)
    for name in store.names():
        version = store.current(name)
        manifest = store.verified(name, version)
        high = {
            spec.name: int(spec.maximum) + 1
            for spec in manifest.inputs
            if spec.maximum is not None and spec.dtype != "float32"
        }
        found = warm(Session(store.folder(name, version) / manifest.graph), high, (1, 64))
        assert found.holds, (name, found)
