"""What the server and its models say of themselves: metadata and configuration."""

from __future__ import annotations

from typing import Any

from service import __version__
from service.contract import Manifest, TensorSpec
from service.oip.tensors import DATATYPES
from service.settings import Settings
from service.waiting import PRIORITIES, USUAL

PLATFORM = "onnx_onnxv1"
EXTENSIONS = (
    "classification",
    "model_repository",
    "schedule_policy",
    "model_configuration",
    "binary_tensor_data",
    "statistics",
    "generate",
)
"""The protocol's extensions that are here, by Triton's names."""


def server_metadata() -> dict[str, Any]:
    """Name, version and extensions."""
    return {"name": "triptych", "version": __version__, "extensions": list(EXTENSIONS)}


def model_metadata(manifest: Manifest) -> dict[str, Any]:
    """Tensors, with -1 for an axis of any size."""
    return {
        "name": manifest.name,
        "versions": [manifest.version],
        "platform": PLATFORM,
        "inputs": [_tensor(spec) for spec in manifest.inputs],
        "outputs": [_tensor(spec) for spec in manifest.outputs],
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": DATATYPES[spec.dtype], "shape": _axes(spec)}


def _axes(spec: TensorSpec) -> list[int]:
    return [-1 if isinstance(axis, str) else axis for axis in spec.shape]


def model_config(manifest: Manifest, settings: Settings) -> dict[str, Any]:
    """Triton's model configuration, as far as it says something of this service.

    As in Triton, `dims` leave the batch axis out. `max_batch_size` is the most rows in one run; a
    request may have more, and is split.
    """
    return {
        "name": manifest.name,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": settings.max_batch_rows,
        "input": [_config(spec) | {"format": _format(spec)} for spec in manifest.inputs],
        "output": [_config(spec) for spec in manifest.outputs],
        "instance_group": [
            {
                "name": manifest.name,
                "kind": "KIND_GPU" if settings.provider == "cuda" else "KIND_CPU",
                "count": settings.lanes * settings.workers,
            }
        ],
        "default_model_filename": manifest.graph,
        "parameters": {
            "kind": {"string_value": manifest.kind},
            "version": {"string_value": manifest.version},
            "digest": {"string_value": manifest.graph_sha256},
            "precision": {"string_value": manifest.served.precision},
        },
        "dynamic_batching": {
            "max_queue_delay_microseconds": 0,
            "priority_levels": len(PRIORITIES),
            "default_priority_level": USUAL,
            "default_queue_policy": {"max_queue_size": settings.max_queue_rows},
        },
    }


def _config(spec: TensorSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "data_type": f"TYPE_{DATATYPES[spec.dtype]}",
        "dims": _axes(spec)[1:],
    }


def _format(spec: TensorSpec) -> str:
    """A picture's layout, which a client that resizes pictures reads."""
    picture = spec.dtype == "uint8" and len(spec.shape) == 4 and spec.shape[-1] == 3
    return "FORMAT_NHWC" if picture else "FORMAT_NONE"
