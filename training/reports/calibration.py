"""Whether the probabilities mean what they say, with and without the temperature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.card import Figure, Section
from training.kinds.base import Evaluation
from training.markdown import table
from training.measures.calibration import (
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
)
from training.measures.temperature import temper
from training.plots.classification import plot_reliability

NOTES = {
    "test_loss_nats": "mean of -log p(label)",
    "test_ece": "expected calibration error in 15 bins of confidence, 0 to 1",
    "test_brier": "Brier score, 0 to 2",
    "temperature": "what the logits are divided by before the softmax; 1 leaves them alone",
    "untempered_loss_nats": "mean of -log p(label) without the temperature",
    "untempered_ece": "expected calibration error without the temperature",
    "untempered_brier": "Brier score without the temperature",
}


def report_calibration(
    probability_NC: NDArray[np.floating],
    label_N: NDArray[np.int64],
    temperature: float,
    held_out_images: int,
    folder: Path,
) -> Evaluation:
    """Calibration of the served probabilities [N, C]; draws `reliability.png`.

    `temperature` is in the graph already, and was fitted on `held_out_images`; 0 of them means
    that none was fitted.
    """
    raw_NC = temper(probability_NC, 1.0 / temperature)
    metrics = {
        "test_loss_nats": negative_log_likelihood(probability_NC, label_N),
        "test_ece": expected_calibration_error(probability_NC, label_N),
        "test_brier": brier_score(probability_NC, label_N),
        "temperature": temperature,
        "untempered_loss_nats": negative_log_likelihood(raw_NC, label_N),
        "untempered_ece": expected_calibration_error(raw_NC, label_N),
        "untempered_brier": brier_score(raw_NC, label_N),
    }
    if held_out_images:
        text = (
            f"The logits are divided by {temperature:.4g}, in the graph: the temperature that was "
            f"most likely on {held_out_images:,} training images that were held out of the fit. "
            "The test images took no part in it."
        )
    else:
        text = (
            "No temperature was fitted: it needs training images that were held out of the fit "
            "(`validation_share`), and this run kept none back. On images that it was trained on, "
            "a network is sure of other things than on new ones."
        )
    rows = [
        (title, *(f"{metrics[f'{which}_{figure}']:.4f}" for which in ("untempered", "test")))
        for title, figure in (
            ("Expected calibration error", "ece"),
            ("Negative log-likelihood, nats", "loss_nats"),
            ("Brier score", "brier"),
        )
    ]
    figure = Figure("reliability.png", "Confidence against accuracy, as served")
    plot_reliability(reliability(probability_NC, label_N), folder / figure.file)
    content = f"{text}\n\n{table(('On the test images', 'Before', 'As served'), rows)}"
    return Evaluation(metrics, sections=(Section("Calibration", content, (figure,)),))
