"""Fréchet distance between two sets of feature vectors, each taken as a Gaussian.

Dowson and Landau, The Fréchet distance between multivariate normal distributions, 1982; used on
images by Heusel et al., GANs Trained by a Two Time-Scale Update Rule, 2017 (arXiv:1706.08500).
The value depends on the features: on those of our own classifier it is not the Inception FID and
must not be set beside published ones. Compare it with `frechet_floor` of the same features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Gaussian:
    """Mean [D] and covariance [D, D] of a set of feature vectors."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


def fit_gaussian(feature_ND: Floats) -> Gaussian:
    """Mean and (unbiased) covariance of the rows; needs two rows or more."""
    assert feature_ND.ndim == 2 and len(feature_ND) >= 2, "two feature vectors or more"
    rows = feature_ND.astype(np.float64)
    return Gaussian(mean=rows.mean(axis=0), covariance=np.atleast_2d(np.cov(rows, rowvar=False)))


def gaussian_distance(a: Gaussian, b: Gaussian) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)), in squared feature units; never negative.

    tr (A B)^(1/2) is taken as tr (A^(1/2) B A^(1/2))^(1/2): the same eigenvalues, of a symmetric
    matrix, so that no root turns complex when a covariance is singular.
    """
    root_a = _symmetric_root(a.covariance)
    eigenvalue = np.linalg.eigvalsh(root_a @ b.covariance @ root_a)
    cross = float(np.sqrt(np.maximum(eigenvalue, 0.0)).sum())
    shift = a.mean - b.mean
    spread = float(np.trace(a.covariance) + np.trace(b.covariance)) - 2 * cross
    return max(0.0, float(shift @ shift) + spread)


def frechet_distance(first_ND: Floats, second_ND: Floats) -> float:
    """Fréchet distance between the Gaussians of two sets of feature vectors [N, D] and [M, D]."""
    return gaussian_distance(fit_gaussian(first_ND), fit_gaussian(second_ND))


def frechet_floor(feature_ND: Floats, *, seed: int = 0) -> float:
    """Distance between two random halves of one set: what chance alone makes of real against real.

    Of half the rows each, so it lies above the floor of the whole set.
    """
    order = np.random.default_rng(seed).permutation(len(feature_ND))
    half = len(order) // 2
    return frechet_distance(feature_ND[order[:half]], feature_ND[order[half : 2 * half]])


def _symmetric_root(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    value, vector = np.linalg.eigh(matrix)
    root: NDArray[np.float64] = (vector * np.sqrt(np.maximum(value, 0.0))) @ vector.T
    return root
