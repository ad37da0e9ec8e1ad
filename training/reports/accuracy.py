"""How often a classifier is right, on the whole and class by class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.card import Figure
from training.kinds.base import Evaluation
from training.measures.classification import accuracy, confusion_matrix, per_class_accuracy
from training.plots.classification import plot_class_shares, plot_confusion

NOTES = {
    "test_accuracy": "share of test images whose most likely class is right",
    "test_accuracy_low": "lower end of its 95 % Wilson interval",
    "test_accuracy_high": "upper end of its 95 % Wilson interval",
    "worst_class_accuracy": "accuracy of the class that does worst",
}


def report_accuracy(
    predicted_N: NDArray[np.int64],
    label_N: NDArray[np.int64],
    classes: Sequence[str],
    folder: Path,
) -> Evaluation:
    """Compare predictions with labels; draws `classes.png` and `confusion.png`."""
    right = accuracy(predicted_N, label_N)
    by_class = per_class_accuracy(predicted_N, label_N, classes=len(classes))
    metrics = {
        "test_accuracy": right.value,
        "test_accuracy_low": right.low,
        "test_accuracy_high": right.high,
        "worst_class_accuracy": float(np.nanmin(by_class)),
    }
    metrics |= {
        f"test_accuracy.{name}": float(value)
        for name, value in zip(classes, by_class, strict=True)
        if np.isfinite(value)
    }
    bars = Figure("classes.png", "Accuracy by class, on the test split")
    confusion = Figure("confusion.png", "Labelled against predicted classes")
    plot_class_shares(
        by_class,
        classes,
        folder / bars.file,
        title="Accuracy by class",
        value_label="Share right",
        overall=right.value,
    )
    confusion_CC = confusion_matrix(predicted_N, label_N, classes=len(classes))
    plot_confusion(confusion_CC, classes, folder / confusion.file)
    return Evaluation(metrics, figures=(bars, confusion))
