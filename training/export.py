"""From torch to ONNX: one file that answers by itself."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch

from service.contract import TensorSpec
from training.kinds.base import Export

OPSET = 18  # what onnxruntime 1.14 and later read, and Reduce* with axes as inputs needs


def export_graph(export: Export, path: Path) -> None:
    """Write the served network to `path` with the contract's tensor names and dynamic axes.

    The tracing exporter is used on purpose: it needs no package beyond torch, folds batch norm
    into convolutions and writes the LSTM operator as such.
    """
    arrays = export.draw_inputs(2, np.random.default_rng(0))
    example = tuple(torch.from_numpy(arrays[spec.name]) for spec in export.inputs)
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # It warns of its age, and that traced shapes and LSTM batches may be fixed: `verify`
        # proves at several batch sizes that they are not.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            export.module,
            example,
            str(path),
            input_names=[spec.name for spec in export.inputs],
            output_names=[spec.name for spec in export.outputs],
            dynamic_axes=_dynamic_axes((*export.inputs, *export.outputs)),
            opset_version=OPSET,
            dynamo=False,
        )
    graph = onnx.load(path)
    _declare_shapes(graph, (*export.inputs, *export.outputs))
    onnx.helper.set_model_props(graph, dict(export.metadata))
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, path)


def _dynamic_axes(specs: Sequence[TensorSpec]) -> dict[str, dict[int, str]]:
    return {
        spec.name: {i: axis for i, axis in enumerate(spec.shape) if isinstance(axis, str)}
        for spec in specs
    }


def _declare_shapes(model: onnx.ModelProto, specs: Sequence[TensorSpec]) -> None:
    """Write the contract's shapes into the graph: tracing leaves some of them nameless."""
    named = {spec.name: spec for spec in specs}
    for value in (*model.graph.input, *model.graph.output):
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        for axis in named[value.name].shape:
            dimension = shape.dim.add()
            if isinstance(axis, int):
                dimension.dim_value = axis
            else:
                dimension.dim_param = axis
