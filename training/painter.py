"""A generator as it is served: pictures from its graph, from noise that a seed decides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.session import Session
from training.seeds import derive

ROWS = 100


class Painter:
    """The graph at `graph`; one thread of the CPU."""

    def __init__(self, graph: Path) -> None:
        self._session = Session(graph)
        width = self._session.inputs["noise"][1][1]
        assert isinstance(width, int), "noise has one width"
        self.noise_width = width

    def paint(self, noise_NZ: NDArray[np.float32], label_N: NDArray[np.int64]) -> NDArray[np.uint8]:
        """float32 [N,Z] and classes int64 [N] to RGB, uint8 [N,H,W,3]."""
        return np.concatenate(
            [
                self._session.run({"noise": noise_NZ[part], "label": label_N[part]})["image"]
                for part in (slice(start, start + ROWS) for start in range(0, len(label_N), ROWS))
            ]
        )

    def sample(self, label_N: NDArray[np.int64], seed: int) -> NDArray[np.uint8]:
        """One picture of each class in `label_N`, uint8 [N,H,W,3]; all are shown, none rejected."""
        draw = np.random.default_rng(derive(seed, "evaluation"))
        noise_NZ = draw.standard_normal((len(label_N), self.noise_width), dtype=np.float32)
        return self.paint(noise_NZ, label_N)

    def interpolate(self, label_N: NDArray[np.int64], steps: int, seed: int) -> NDArray[np.uint8]:
        """For each class the way from one noise to another, uint8 [N,steps,H,W,3].

        On the quarter circle from the first to the second: every point of it is as normal as its
        ends, where a straight line's middle is too short (White 2016, arXiv:1609.04468).
        """
        draw = np.random.default_rng(derive(seed, "interpolation"))
        shape = (len(label_N), 1, self.noise_width)
        first_N1Z, second_N1Z = (draw.standard_normal(shape, dtype=np.float32) for _ in range(2))
        angle_S1 = np.linspace(0, np.pi / 2, steps, dtype=np.float32)[:, None]
        noise_NSZ = np.cos(angle_S1) * first_N1Z + np.sin(angle_S1) * second_N1Z
        noise_RZ = noise_NSZ.reshape(-1, self.noise_width).astype(np.float32)
        image_NHWC = self.paint(noise_RZ, np.repeat(label_N, steps))
        return image_NHWC.reshape(len(label_N), steps, *image_NHWC.shape[1:])
