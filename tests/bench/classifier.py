"""Anyone's ONNX classifier as a model of the store: its graph wrapped to keep the contract.

The graph needs one image input, uint8 [N, H, W, 3] as here, or float32 [N, 3, H, W] or
[N, H, W, 3] (then given pictures scaled to 0..1), with a dynamic batch axis, and an output of
scores [N, C]. Scores that are no probabilities pass a softmax.
"""

from __future__ import annotations

import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper

from service.contract import (
    SCHEMA_VERSION,
    DataRecord,
    Gate,
    Golden,
    Manifest,
    TensorSpec,
    TrainingRecord,
)
from service.session import versions
from tests.bench.bare import open_graph
from tests.bench.reference import parameters, reference_model
from training.publish import publish, seal

REFERENCE = "reference"
GOLDEN_ROWS = 4
_MIN_OPSET = 10  # Slice with its bounds as inputs
_INNER = "inner/"


class UnfitModelError(ValueError):
    """The file cannot be wrapped; the message says what is missing."""


def read_classifier(source: str) -> tuple[str, onnx.ModelProto]:
    """Name and graph of `source`: a path, or `reference`."""
    if source == REFERENCE:
        return REFERENCE, reference_model()
    path = Path(source)
    if not path.is_file():
        raise UnfitModelError(f"there is no file {source}")
    name = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:64] or "model"
    return name, onnx.load(path)


def _axes(value: onnx.ValueInfoProto) -> list[int | str]:
    """Sizes; a dynamic axis is its name, perhaps empty."""
    shape = value.type.tensor_type.shape
    return [axis.dim_value if axis.HasField("dim_value") else axis.dim_param for axis in shape.dim]


def _image_input(model: onnx.ModelProto) -> tuple[onnx.ValueInfoProto, int, int, bool]:
    """The image input, height, width, and whether channels come first."""
    weights = {weight.name for weight in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        raise UnfitModelError(f"it must have one input, not {[value.name for value in inputs]}")
    (image,) = inputs
    kind, axes = image.type.tensor_type.elem_type, _axes(image)
    if len(axes) != 4 or kind not in (TensorProto.UINT8, TensorProto.FLOAT):
        raise UnfitModelError(
            f"its input {image.name} must be uint8 [N, H, W, 3], float32 [N, 3, H, W] or "
            f"float32 [N, H, W, 3], not {TensorProto.DataType.Name(kind)} {axes}"
        )
    if isinstance(axes[0], int):
        raise UnfitModelError(
            f"its batch axis is fixed at {axes[0]}: export it with a dynamic batch axis"
        )
    first = axes[1] == 3 and kind == TensorProto.FLOAT
    height, width = (axes[2], axes[3]) if first else (axes[1], axes[2])
    if not first and axes[3] != 3:
        raise UnfitModelError(f"its input {image.name} must have 3 channels, not {axes}")
    if not isinstance(height, int) or not isinstance(width, int):
        raise UnfitModelError(f"height and width of {image.name} must be fixed, not {axes}")
    return image, height, width, first


def _scores(model: onnx.ModelProto) -> str:
    for value in model.graph.output:
        if len(_axes(value)) == 2 and value.type.tensor_type.elem_type == TensorProto.FLOAT:
            return str(value.name)
    raise UnfitModelError("it must have an output of scores, float32 [N, C]")


def wrap(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with `image` uint8 [N, H, W, 3] in, `probability` and a `heatmap` out.

    The heatmap is one cell, the first class's probability: the contract asks for one.

    Raises:
        UnfitModelError: the graph has not the tensors that are needed.

    """
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if opset < _MIN_OPSET:
        raise UnfitModelError(f"its opset is {opset}; it must be {_MIN_OPSET} or later")
    image, height, width, channels_first = _image_input(model)
    scores = _scores(model)
    as_float = image.type.tensor_type.elem_type == TensorProto.FLOAT
    given = np.random.default_rng(0).integers(0, 256, (GOLDEN_ROWS, height, width, 3), np.uint8)
    found = _run(model, image.name, scores, _as_input(given, as_float, channels_first))
    classes = found.shape[1]
    normal = bool((found >= 0).all() and np.allclose(found.sum(axis=1), 1, atol=1e-3))
    inner = compose.add_prefix(model, prefix=_INNER).graph
    before, entry = [], "image"
    if as_float:
        before = [
            helper.make_node("Cast", ["image"], ["as_float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["as_float", "scale"], ["scaled"]),
        ]
        entry = "scaled"
        if channels_first:
            before.append(helper.make_node("Transpose", [entry], ["first"], perm=[0, 3, 1, 2]))
            entry = "first"
    before.append(helper.make_node("Identity", [entry], [_INNER + image.name]))
    last = ("Identity", {}) if normal else ("Softmax", {"axis": 1})
    after = [
        helper.make_node(last[0], [_INNER + scores], ["probability"], **last[1]),
        helper.make_node("Slice", ["probability", "zero", "one", "one"], ["cell"]),
        helper.make_node("Reshape", ["cell", "cell_shape"], ["heatmap"]),
    ]
    constants = {
        **({"scale": np.float32(1 / 255)} if as_float else {}),
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "cell_shape": np.array([-1, 1, 1], np.int64),
    }
    initializers = [numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()]
    graph = helper.make_graph(
        [*before, *inner.node, *after],
        "wrapped",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", height, width, 3])],
        [
            helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["N", classes]),
            helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, ["N", 1, 1]),
        ],
        initializer=[*inner.initializer, *initializers],
    )
    wrapped = helper.make_model(graph, opset_imports=model.opset_import, functions=model.functions)
    wrapped.ir_version = model.ir_version
    return wrapped


def _as_input(
    image_NHWC: NDArray[np.uint8], as_float: bool, channels_first: bool
) -> NDArray[np.uint8] | NDArray[np.float32]:
    if not as_float:
        return image_NHWC
    scaled = image_NHWC.astype(np.float32) * np.float32(1 / 255)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)) if channels_first else scaled


def _run(
    model: onnx.ModelProto, entry: str, output: str, array: NDArray[np.generic]
) -> NDArray[np.float32]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        (found,) = open_graph(str(path)).run([output], {entry: array})
    return np.asarray(found, dtype=np.float32)


def build_store(source: str, store: Path) -> str:
    """Publish the classifier `source` alone in the store; returns its name.

    Raises:
        UnfitModelError: it cannot be wrapped.

    """
    name, model = read_classifier(source)
    wrapped = wrap(model)
    height, width = (int(axis) for axis in _axes(wrapped.graph.input[0])[1:3])
    classes = int(_axes(wrapped.graph.output[0])[1])
    given = np.random.default_rng(1).integers(0, 256, (GOLDEN_ROWS, height, width, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder)
        onnx.save(wrapped, candidate / "model.onnx")
        session = open_graph(str(candidate / "model.onnx"))
        names = ["probability", "heatmap"]
        found = session.run(names, {"image": given})
        golden = {f"output.{key}": array for key, array in zip(names, found, strict=True)}
        np.savez(candidate / "golden.npz", **{"input.image": given}, **golden)
        (candidate / "card.md").write_text(f"# {name}\n\nWrapped for a benchmark.\n")
        seal(candidate, _manifest(name, height, width, classes, parameters(model)))
        publish(candidate, store, name)
    return name


def _manifest(name: str, height: int, width: int, classes: int, count: int) -> Manifest:
    now = datetime.now(UTC)
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        kind="cnn",
        version=now.strftime("%Y%m%dt%H%M%S"),
        created_at=now.isoformat(timespec="seconds"),
        description="A classifier wrapped for a benchmark.",
        inputs=(
            TensorSpec(
                name="image", dtype="uint8", shape=("N", height, width, 3), minimum=0, maximum=255
            ),
        ),
        outputs=(
            TensorSpec(
                name="probability", dtype="float32", shape=("N", classes), minimum=0, maximum=1
            ),
            TensorSpec(
                name="heatmap", dtype="float32", shape=("N", 1, 1), minimum=0, maximum=1
            ),
        ),
        labels=tuple(f"class {index}" for index in range(classes)),
        files={},
        golden=Golden(rows=GOLDEN_ROWS, max_abs_error={"probability": 1e-4, "heatmap": 1e-4}),
        metrics={},
        gate=Gate(passed=True, checks=()),
        training=TrainingRecord(
            config={}, config_sha256="", preset="", seed=0, parameters=count, duration_s=0.0,
            hardware="",
        ),
        data=DataRecord(name="none", source="", sha256=""),
        code_revision="",
        libraries=versions(),
    )  # fmt: skip
