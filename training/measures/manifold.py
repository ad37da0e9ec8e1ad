"""How far samples lie among real examples, and real examples among samples.

Precision and recall: Kynkäänniemi et al., Improved Precision and Recall Metric for Assessing
Generative Models, 2019 (arXiv:1904.06991). Density and coverage, less moved by single outliers:
Naeem et al., Reliable Fidelity and Diversity Metrics for Generative Models, 2020
(arXiv:2002.09797). Around every example stands a ball that reaches to its k-th nearest neighbour
of the same set.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.measures.neighbours import nearest

Floats = NDArray[np.floating]

K_PRECISION = 3  # as in the first paper
K_DENSITY = 5  # as in the second
CHUNK_ROWS = 256


@dataclass(frozen=True)
class Manifold:
    """All near 1 when the two sets are alike."""

    precision: float
    """Share of samples that lie in a real example's ball: 0 to 1."""
    recall: float
    """Share of real examples that lie in a sample's ball: 0 to 1."""
    density: float
    """Mean number of real examples' balls that a sample lies in, over k: 0 and more."""
    coverage: float
    """Share of real examples whose ball holds a sample: 0 to 1."""


def compare_manifolds(sample_MD: Floats, real_ND: Floats) -> Manifold:
    """Compare feature vectors of samples [M, D] and of real examples [N, D].

    The figures depend on M and N: set only those of equal sizes beside one another.
    """
    assert min(len(sample_MD), len(real_ND)) > K_DENSITY, "more rows than neighbours"
    real_radius_N, ball_radius_N = (_radius(real_ND, k) for k in (K_PRECISION, K_DENSITY))
    sample_radius_M = _radius(sample_MD, K_PRECISION)
    within_real, within_balls = 0, 0
    recalled_N = np.zeros(len(real_ND), bool)
    covered_N = np.zeros(len(real_ND), bool)
    for start in range(0, len(sample_MD), CHUNK_ROWS):
        part = slice(start, start + CHUNK_ROWS)
        distance_BN = _distance(sample_MD[part], real_ND)
        within_real += int((distance_BN <= real_radius_N).any(axis=1).sum())
        recalled_N |= (distance_BN <= sample_radius_M[part, None]).any(axis=0)
        held_BN = distance_BN <= ball_radius_N
        within_balls += int(held_BN.sum())
        covered_N |= held_BN.any(axis=0)
    return Manifold(
        precision=within_real / len(sample_MD),
        recall=float(recalled_N.mean()),
        density=within_balls / (K_DENSITY * len(sample_MD)),
        coverage=float(covered_N.mean()),
    )


def _radius(rows_ND: Floats, k: int) -> NDArray[np.float64]:
    """Distance [N] of each row to its k-th nearest other row."""
    return nearest(rows_ND, rows_ND, k=k + 1).distance[:, k]  # the nearest of all is itself


def _distance(first_BD: Floats, second_ND: Floats) -> NDArray[np.float64]:
    a, b = first_BD.astype(np.float64), second_ND.astype(np.float64)
    square_BN = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * (a @ b.T)
    distance_BN: NDArray[np.float64] = np.sqrt(np.maximum(square_BN, 0.0))
    return distance_BN
