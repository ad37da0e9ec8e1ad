"""A classifier as it is served: everything is measured on its graph."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from service.session import Session

ROWS = 100
TEMPERATURE = "temperature"
"""The key under which a graph says what its logits were divided by."""


@dataclass(frozen=True)
class Answers:
    """What the graph said of N images."""

    probability: NDArray[np.float32]
    """[N, C], 0 to 1."""
    heatmap: NDArray[np.float32]
    """[N, h, w], 0 to 1: the class activation of the top class."""

    @property
    def predicted(self) -> NDArray[np.int64]:
        """[N], the most likely classes."""
        best_N: NDArray[np.int64] = self.probability.argmax(axis=1)
        return best_N


class Classifier:
    """The graph at `graph`; one thread of the CPU."""

    def __init__(self, graph: Path) -> None:
        self.graph = graph
        self._session = Session(graph)

    @cached_property
    def temperature(self) -> float:
        """What the logits are divided by before the softmax; 1 where the graph does not say."""
        properties = onnx.load(self.graph, load_external_data=False).metadata_props
        return float({entry.key: entry.value for entry in properties}.get(TEMPERATURE, "1"))

    def see(self, images: NDArray[np.uint8]) -> Answers:
        """uint8 [N,H,W,3] to probabilities and heat maps."""
        parts = self._run(images, ("probability", "heatmap"))
        return Answers(**{name: np.concatenate(arrays) for name, arrays in parts.items()})

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [N,H,W,3] to float32 [N,C]."""
        return np.concatenate(self._run(images, ("probability",))["probability"])

    def _run(
        self, images: NDArray[np.uint8], outputs: tuple[str, ...]
    ) -> dict[str, list[NDArray[np.float32]]]:
        found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in outputs}
        for start in range(0, len(images), ROWS):
            chunk = np.ascontiguousarray(images[start : start + ROWS])
            for name, array in self._session.run({"image": chunk}, outputs).items():
                found[name].append(array)
        return found
