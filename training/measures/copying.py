"""Whether samples lie nearer to training examples than unseen real examples do.

A generator that copies comes nearer than chance brings real test examples; one that draws does not
(the comparison of Meehan, Chaudhuri and Dasgupta, A Non-Parametric Test to Detect Data-Copying in
Generative Models, 2020, arXiv:2004.05675, by quantiles).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.measures.proportion import Proportion

NEAR_QUANTILE = 0.01

_LEAST = 1e-9  # keeps the ratio finite where a test example is a training example


@dataclass(frozen=True)
class Copying:
    """Distances of samples to their nearest training example, against those of unseen examples."""

    near: Proportion
    """Samples nearer than all but the nearest hundredth of unseen examples: 1 % by chance."""
    nearest_ratio: float
    """Least distance of a sample over the least of an unseen example; below 1 is suspect."""
    median_ratio: float
    """The same of the medians."""


def compare_nearness(
    sample_N: NDArray[np.float64], unseen_M: NDArray[np.float64], *, quantile: float = NEAR_QUANTILE
) -> Copying:
    """Compare distances to the nearest training example, of samples [N] and unseen examples [M]."""
    limit = np.quantile(unseen_M, quantile)
    return Copying(
        near=Proportion(successes=int((sample_N < limit).sum()), trials=len(sample_N)),
        nearest_ratio=float(sample_N.min() / max(unseen_M.min(), _LEAST)),
        median_ratio=float(np.median(sample_N) / max(np.median(unseen_M), _LEAST)),
    )
