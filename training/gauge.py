"""How a generator comes on while it is trained, as a published classifier sees its samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.data.sets import ImageData
from training.judge import Judge
from training.measures.frechet import fit_gaussian, gaussian_distance
from training.seeds import derive

REAL_IMAGES = 5000
SAMPLES_PER_CLASS = 200


class Gauge:
    """Sets samples beside training images: the test images stay unseen until the end."""

    def __init__(self, judge: Judge, data: ImageData, seed: int) -> None:
        draw = np.random.default_rng(derive(seed, "gauge"))
        some = np.sort(draw.permutation(len(data.train.images))[:REAL_IMAGES])
        self._judge = judge
        self._positions = judge.positions(data.classes)
        self._real = fit_gaussian(judge.see(data.train.images[some]).features)

    def __call__(
        self, image_NHWC: NDArray[np.uint8], asked_N: NDArray[np.int64]
    ) -> dict[str, float]:
        """Fréchet distance to training images in the judge's features, and class agreement.

        Comparable along a run; the evaluation's figures are of more samples and of test images.
        """
        seen = self._judge.see(image_NHWC)
        return {
            "sample_frechet": gaussian_distance(fit_gaussian(seen.features), self._real),
            "sample_agreement": float((seen.judged == self._positions[asked_N]).mean()),
        }
