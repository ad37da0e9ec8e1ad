"""One case per kind: what the contract promises of its graphs, and rows to try them with.

A new kind adds its case here; without one the tests fail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.contract import Manifest

Arrays = dict[str, NDArray[Any]]
Shapes = dict[str, tuple[str, tuple[int | str, ...]]]


@dataclass(frozen=True)
class Case:
    """`tensors` gives dtype and shape of every promised tensor; names of axes that the manifest
    fixes are resolved by `sizes`. `draw` makes rows that a client might send.
    """

    inputs: Shapes
    outputs: Shapes
    sizes: Callable[[Manifest], dict[str, int]]
    draw: Callable[[Manifest, int, np.random.Generator], Arrays]
    ranges: dict[str, tuple[float, float]]
    """Bounds that outputs must keep, by name."""


def _fixed(manifest: Manifest, tensor: str, axis: int) -> int:
    for spec in (*manifest.inputs, *manifest.outputs):
        if spec.name == tensor:
            size = spec.shape[axis]
            assert isinstance(size, int), f"axis {axis} of {tensor} must be fixed"
            return size
    raise AssertionError(f"{manifest.name} has no tensor {tensor}")


def _cnn_sizes(manifest: Manifest) -> dict[str, int]:
    return {
        "H": _fixed(manifest, "image", 1),
        "W": _fixed(manifest, "image", 2),
        "C": len(manifest.labels),
        "h": _fixed(manifest, "heatmap", 1),
        "w": _fixed(manifest, "heatmap", 2),
    }


def _cnn_draw(manifest: Manifest, rows: int, rng: np.random.Generator) -> Arrays:
    size = _cnn_sizes(manifest)
    shape = (rows, size["H"], size["W"], 3)
    return {"image": rng.integers(0, 256, shape).astype(np.uint8)}


def _lstm_sizes(manifest: Manifest) -> dict[str, int]:
    return {"S": _fixed(manifest, "state", 1), "V": len(manifest.vocabulary)}


def _lstm_draw(manifest: Manifest, rows: int, rng: np.random.Generator) -> Arrays:
    size = _lstm_sizes(manifest)
    state_NS = np.tanh(rng.standard_normal((rows, size["S"]))).astype(np.float32)
    return {"token": rng.integers(0, size["V"], (rows, 9)), "state": state_NS}


def _gan_sizes(manifest: Manifest) -> dict[str, int]:
    return {
        "Z": _fixed(manifest, "noise", 1),
        "H": _fixed(manifest, "image", 1),
        "W": _fixed(manifest, "image", 2),
    }


def _gan_draw(manifest: Manifest, rows: int, rng: np.random.Generator) -> Arrays:
    size = _gan_sizes(manifest)
    return {
        "noise": rng.standard_normal((rows, size["Z"]), dtype=np.float32),
        "label": rng.integers(0, len(manifest.labels), rows),
    }


CASES: dict[str, Case] = {
    "cnn": Case(
        inputs={"image": ("uint8", ("N", "H", "W", 3))},
        outputs={"probability": ("float32", ("N", "C")), "heatmap": ("float32", ("N", "h", "w"))},
        sizes=_cnn_sizes,
        draw=_cnn_draw,
        ranges={"probability": (0, 1), "heatmap": (0, 1)},
    ),
    "lstm": Case(
        inputs={"token": ("int64", ("N", "T")), "state": ("float32", ("N", "S"))},
        outputs={"logits": ("float32", ("N", "T", "V")), "state_out": ("float32", ("N", "S"))},
        sizes=_lstm_sizes,
        draw=_lstm_draw,
        ranges={},
    ),
    "gan": Case(
        inputs={"noise": ("float32", ("N", "Z")), "label": ("int64", ("N",))},
        outputs={"image": ("uint8", ("N", "H", "W", 3))},
        sizes=_gan_sizes,
        draw=_gan_draw,
        ranges={"image": (0, 255)},
    ),
}
