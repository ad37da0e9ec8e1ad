"""Nearest training examples of samples: does a generator draw, or copy?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating] | NDArray[np.uint8]

CHUNK_ROWS = 256  # queries compared at a time: 256 x 50,000 float32 are 51 MB
SPARE = 8  # extra candidates ranked exactly, for the fast product rounds


@dataclass(frozen=True)
class Neighbours:
    """The `k` nearest reference rows of each query row, nearest first."""

    index: NDArray[np.int64]
    """[Q, k], rows of the reference."""
    distance: NDArray[np.float64]
    """[Q, k], Euclidean."""


def nearest(query: Numbers, reference: Numbers, *, k: int = 1) -> Neighbours:
    """Nearest rows of `reference` [R, ...] to each row of `query` [Q, ...], by Euclidean distance.

    Rows may be feature vectors, or uint8 images: further axes are flattened. Candidates come from
    one matrix product per chunk in float32; the distances returned, and the order, are exact to
    float64 rounding, so a copy has distance 0.
    """
    assert query.shape[1:] == reference.shape[1:], "rows of one shape"
    assert 1 <= k <= len(reference), "no more neighbours than references"
    query_QD = query.reshape(len(query), -1)
    reference_RD = reference.reshape(len(reference), -1)
    centre_D = reference_RD.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred_RD = reference_RD.astype(np.float32)
    centred_RD -= centre_D  # small numbers cancel less
    half_square_R = 0.5 * np.einsum("rd,rd->r", centred_RD, centred_RD)
    candidates = min(k + SPARE, len(reference))
    index = np.empty((len(query), k), np.int64)
    distance = np.empty((len(query), k), np.float64)
    for start in range(0, len(query), CHUNK_ROWS):
        chunk_BD = query_QD[start : start + CHUNK_ROWS]
        score_BR = (chunk_BD.astype(np.float32) - centre_D) @ centred_RD.T
        score_BR -= half_square_R  # largest where nearest
        near_BK = np.argpartition(-score_BR, candidates - 1, axis=1)[:, :candidates]
        for row, near_K in enumerate(near_BK, start):
            gap_KD = reference_RD[near_K].astype(np.float64) - query_QD[row]
            exact_K = np.sqrt(np.einsum("kd,kd->k", gap_KD, gap_KD))
            order = np.lexsort((near_K, exact_K))[:k]  # equal distances: lower row first
            index[row], distance[row] = near_K[order], exact_K[order]
    return Neighbours(index=index, distance=distance)
