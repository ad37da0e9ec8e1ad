"""Whether a conditional generator draws what it was asked for, as a classifier judges it.

The generator's counterpart of accuracy; Ravuri and Vinyals, Classification Accuracy Score for
Conditional Generative Models, 2019 (arXiv:1905.10887), discuss what such figures can and cannot
say. The judge must not have taken part in the generator's training.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.measures.classification import accuracy, confusion_matrix, per_class_accuracy
from training.measures.proportion import Proportion


@dataclass(frozen=True)
class Agreement:
    """Share of samples judged to be of the class asked for."""

    overall: Proportion
    per_class: NDArray[np.float64]
    """[C], 0 to 1; NaN for a class that was not asked for."""
    confusion: NDArray[np.int64]
    """[C, C], by class asked for (first axis) and judged (second axis)."""


def agreement(
    judged_N: NDArray[np.int64], asked_N: NDArray[np.int64], *, classes: int
) -> Agreement:
    """Compare the classes that the judge saw [N] with those asked for [N]."""
    return Agreement(
        overall=accuracy(judged_N, asked_N),
        per_class=per_class_accuracy(judged_N, asked_N, classes=classes),
        confusion=confusion_matrix(judged_N, asked_N, classes=classes),
    )
