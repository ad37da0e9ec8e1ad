"""A classifier from elsewhere in the bench's store gives the answers of its own graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from service.loading import load
from service.store import Store
from tests.bench.bare import open_graph
from tests.bench.classifier import UnfitModelError, build_store, read_classifier
from tests.bench.reference import parameters, reference_model

SIZE = 8
CLASSES = 5
LAYOUTS = {
    "uint8 NHWC": (TensorProto.UINT8, ["batch", SIZE, SIZE, 3]),
    "float NHWC": (TensorProto.FLOAT, ["batch", SIZE, SIZE, 3]),
    "float NCHW": (TensorProto.FLOAT, ["batch", 3, SIZE, SIZE]),
}


def write_classifier(path: Path, layout: str, *, softmax: bool, batch: str | int = "batch") -> Path:
    """A linear classifier with that input, `logits` or probabilities out."""
    kind, axes = LAYOUTS[layout]
    matrix = np.random.default_rng(0).standard_normal((SIZE * SIZE * 3, CLASSES)) / SIZE
    nodes = [
        helper.make_node("Cast", ["x"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["scores" if softmax else "y"]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["scores"], ["y"], axis=1))
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", kind, [batch, *axes[1:]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, CLASSES])],
        initializer=[numpy_helper.from_array(matrix.astype(np.float32), "matrix")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    save(model, path)
    return path


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_same_probabilities_as_the_bare_graph(tmp_path, layout, softmax):
    path = write_classifier(tmp_path / "My Model.onnx", layout, softmax=softmax)
    image_NHWC = np.random.default_rng(2).integers(0, 256, (7, SIZE, SIZE, 3), dtype=np.uint8)
    given = image_NHWC
    if layout.startswith("float"):
        given = image_NHWC.astype(np.float32) / 255
    if layout.endswith("NCHW"):
        given = np.ascontiguousarray(given.transpose(0, 3, 1, 2))
    (expected,) = open_graph(str(path)).run(["y"], {"x": given})
    if not softmax:
        expected = np.exp(expected - expected.max(axis=1, keepdims=True))
        expected /= expected.sum(axis=1, keepdims=True)

    name = build_store(str(path), tmp_path / "models")

    assert name == "my-model"
    store = Store(tmp_path / "models")
    model = load(store, name, store.current(name), provider="cpu", warm_rows=(1, 64))
    found = model.session.run({"image": image_NHWC}, ("probability", "heatmap"))
    np.testing.assert_allclose(found["probability"], expected, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.05, "pictures that all look alike prove nothing"
    assert found["heatmap"].shape == (7, 1, 1)


def test_reference_is_always_the_same(tmp_path):
    name, model = read_classifier("reference")
    assert (name, parameters(model)) == ("reference", 411_137)
    assert model.SerializeToString() == reference_model().SerializeToString()


def test_fixed_batch_is_refused(tmp_path):
    path = write_classifier(tmp_path / "fixed.onnx", "float NCHW", softmax=True, batch=1)
    with pytest.raises(UnfitModelError, match="batch axis is fixed at 1"):
        build_store(str(path), tmp_path / "models")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(UnfitModelError, match="there is no file"):
        build_store(str(tmp_path / "none.onnx"), tmp_path / "models")
