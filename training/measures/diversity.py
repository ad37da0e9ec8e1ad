"""How different samples are from one another: a collapsed generator repeats itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mean_pairwise_distance(feature_ND: NDArray[np.floating]) -> float:
    """Mean Euclidean distance over all pairs of distinct rows; NaN of fewer than two."""
    count = len(feature_ND)
    if count < 2:
        return float("nan")
    rows = feature_ND.astype(np.float64) - feature_ND.mean(axis=0, dtype=np.float64)
    square_N = np.einsum("nd,nd->n", rows, rows)
    squared_NN = square_N[:, None] + square_N[None, :] - 2.0 * (rows @ rows.T)
    distance_NN = np.sqrt(np.maximum(squared_NN, 0.0))
    np.fill_diagonal(distance_NN, 0.0)
    return float(distance_NN.sum() / (count * (count - 1)))


def diversity_by_class(
    feature_ND: NDArray[np.floating], label_N: NDArray[np.int64], *, classes: int
) -> NDArray[np.float64]:
    """Mean pairwise distance [C] within each class; NaN for a class with fewer than two rows.

    Set beside the same figure of real images: much below it is mode collapse.
    """
    return np.array(
        [mean_pairwise_distance(feature_ND[label_N == index]) for index in range(classes)]
    )
