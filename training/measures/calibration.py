"""Whether a classifier's probabilities mean what they say.

Guo et al., On Calibration of Modern Neural Networks, ICML 2017 (arXiv:1706.04599).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

BINS = 15  # as in Guo et al.


@dataclass(frozen=True)
class Reliability:
    """Top-class confidence against accuracy, in equal-width bins of confidence."""

    edge: NDArray[np.float64]
    """[B + 1], 0 to 1; a bin holds its upper edge and not its lower."""
    confidence: NDArray[np.float64]
    """[B], mean confidence of the bin's rows; NaN for an empty bin."""
    accuracy: NDArray[np.float64]
    """[B], share of the bin's rows that are right; NaN for an empty bin."""
    count: NDArray[np.int64]
    """[B], rows."""

    @property
    def expected_error(self) -> float:
        """Expected calibration error: mean |confidence - accuracy| over rows, 0 to 1."""
        filled = self.count > 0
        gap = np.abs(self.confidence[filled] - self.accuracy[filled])
        return float(np.average(gap, weights=self.count[filled])) if filled.any() else np.nan


def reliability(
    probability_NC: Floats, label_N: NDArray[np.int64], *, bins: int = BINS
) -> Reliability:
    """Bin the rows of probabilities [N, C] by the confidence of their top class."""
    confidence_N = probability_NC.max(axis=1).astype(np.float64)
    right_N = probability_NC.argmax(axis=1) == label_N
    edge = np.linspace(0.0, 1.0, bins + 1)
    bin_N = np.clip(np.digitize(confidence_N, edge, right=True) - 1, 0, bins - 1)
    count = np.bincount(bin_N, minlength=bins)
    confidence, accuracy = np.full(bins, np.nan), np.full(bins, np.nan)
    filled = count > 0
    for target, value_N in ((confidence, confidence_N), (accuracy, right_N)):
        np.divide(
            np.bincount(bin_N, weights=value_N, minlength=bins), count, out=target, where=filled
        )
    return Reliability(edge=edge, confidence=confidence, accuracy=accuracy, count=count)


def expected_calibration_error(
    probability_NC: Floats, label_N: NDArray[np.int64], *, bins: int = BINS
) -> float:
    """Mean |confidence - accuracy| over rows, in bins of confidence; 0 (calibrated) to 1."""
    return reliability(probability_NC, label_N, bins=bins).expected_error


def negative_log_likelihood(probability_NC: Floats, label_N: NDArray[np.int64]) -> float:
    """Mean of -log p(label), in nats; a probability of 0 counts as float32's least positive."""
    chosen_N = probability_NC[np.arange(len(label_N)), label_N].astype(np.float64)
    return float(-np.log(np.maximum(chosen_N, np.finfo(np.float32).tiny)).mean())


def brier_score(probability_NC: Floats, label_N: NDArray[np.int64]) -> float:
    """Mean squared distance of the probabilities from the one-hot label: 0 (sure, right) to 2.

    Brier, Verification of Forecasts Expressed in Terms of Probability, 1950.
    """
    error_NC = probability_NC.astype(np.float64)
    error_NC[np.arange(len(label_N)), label_N] -= 1.0
    return float((error_NC**2).sum(axis=1).mean())
