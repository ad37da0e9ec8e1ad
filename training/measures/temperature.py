"""One number that makes a classifier as sure as it is right.

Guo et al., On Calibration of Modern Neural Networks, ICML 2017 (arXiv:1706.04599): logits are
divided by a temperature that is fitted, by likelihood, on images that the network has not seen.
It changes no prediction.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

BOUNDS = (0.05, 20.0)  # whoever needs more is not a classifier that a temperature can help
STEPS = 60  # halvings: float64 knows no finer


def fit_temperature(logits_NC: Floats, label_N: NDArray[np.int64]) -> float:
    """The temperature, within `BOUNDS`, of the least mean cross-entropy.

    In the inverse temperature the cross-entropy is convex, so its slope has one zero. A network
    that is right everywhere would like to be surer without end, and gets the lower bound.
    """
    logits = logits_NC.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    right_N = logits[np.arange(len(label_N)), label_N]
    low, high = np.log(1.0 / BOUNDS[1]), np.log(1.0 / BOUNDS[0])
    for _ in range(STEPS):
        middle = (low + high) / 2.0
        weight_NC = np.exp(logits * np.exp(middle))
        expected_N = (weight_NC * logits).sum(axis=1) / weight_NC.sum(axis=1)
        if (expected_N - right_N).mean() < 0.0:
            low = middle
        else:
            high = middle
    return float(np.exp(-(low + high) / 2.0))


def temper(probability_NC: Floats, temperature: float) -> NDArray[np.float64]:
    """Probabilities [N, C] as they would be with their logits divided by `temperature`."""
    tiny = np.finfo(np.float32).tiny
    logits_NC = np.log(np.maximum(probability_NC.astype(np.float64), tiny)) / temperature
    weight_NC = np.exp(logits_NC - logits_NC.max(axis=1, keepdims=True))
    tempered_NC: NDArray[np.float64] = weight_NC / weight_NC.sum(axis=1, keepdims=True)
    return tempered_NC
