"""Rows that a client of the Open Inference Protocol might send, and how it sends them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from service.contract import MANIFEST_FILE, Manifest, decode_manifest
from service.oip.tensors import DATATYPES
from service.store import Store
from tests.conformance.cases import CASES, Arrays
from tests.e2e.server import Server

MODELS = ("cifar10", "shakespeare", "cifar10-gan")


def manifest_of(store: Path, model: str) -> Manifest:
    folder = Store(store).folder(model, Store(store).current(model))
    return decode_manifest((folder / MANIFEST_FILE).read_bytes())


def draw(manifest: Manifest, rows: int = 3, seed: int = 0) -> Arrays:
    return CASES[manifest.kind].draw(manifest, rows, np.random.default_rng(seed))


def datatype(manifest: Manifest, tensor: str) -> str:
    return DATATYPES[manifest.input(tensor).dtype]


def in_json(manifest: Manifest, arrays: Arrays, **more: Any) -> dict[str, Any]:
    """A request's JSON with its tensors in it."""
    inputs = [
        {
            "name": name,
            "shape": list(array.shape),
            "datatype": datatype(manifest, name),
            "data": array.ravel().tolist(),
        }
        for name, array in arrays.items()
    ]
    return {"inputs": inputs, **more}


def infer(server: Server, model: str, body: Any, **options: Any) -> httpx.Response:
    return server.post(f"/v2/models/{model}/infer", json=body, **options)


def triton_inputs(client: Any, manifest: Manifest, arrays: Arrays, **options: Any) -> list[Any]:
    """tritonclient's inputs; `client` is its http or its grpc module."""
    inputs = []
    for name, array in arrays.items():
        one = client.InferInput(name, list(array.shape), datatype(manifest, name))
        one.set_data_from_numpy(array, **options)
        inputs.append(one)
    return inputs


def output_names(manifest: Manifest) -> Sequence[str]:
    return [spec.name for spec in manifest.outputs]


def same(found: NDArray[Any] | None, expected: NDArray[Any]) -> bool:
    """To the bit."""
    return (
        found is not None
        and found.dtype == expected.dtype
        and found.shape == expected.shape
        and found.tobytes() == expected.tobytes()
    )
