"""How often a classifier is right, on the whole and class by class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.measures.proportion import Proportion


def accuracy(predicted_N: NDArray[np.int64], label_N: NDArray[np.int64]) -> Proportion:
    """Share of rows whose predicted class is the labelled one."""
    _check_rows(predicted_N, label_N)
    return Proportion(successes=int((predicted_N == label_N).sum()), trials=len(label_N))


def confusion_matrix(
    predicted_N: NDArray[np.int64], label_N: NDArray[np.int64], *, classes: int
) -> NDArray[np.int64]:
    """Count [C, C] of rows by labelled class (first axis) and predicted class (second axis)."""
    _check_rows(predicted_N, label_N)
    cell_N = label_N * classes + predicted_N
    return np.bincount(cell_N, minlength=classes * classes).reshape(classes, classes)


def per_class_accuracy(
    predicted_N: NDArray[np.int64], label_N: NDArray[np.int64], *, classes: int
) -> NDArray[np.float64]:
    """Share [C] of each class's rows that are predicted right; NaN for a class without rows."""
    confusion_CC = confusion_matrix(predicted_N, label_N, classes=classes)
    total_C = confusion_CC.sum(axis=1)
    share_C = np.full(classes, np.nan)
    np.divide(np.diagonal(confusion_CC), total_C, out=share_C, where=total_C > 0)
    return share_C


def _check_rows(first_N: NDArray[np.int64], second_N: NDArray[np.int64]) -> None:
    assert first_N.shape == second_N.shape and first_N.ndim == 1, "one prediction per label"
