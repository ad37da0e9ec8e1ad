"""Where the classifier is surest and wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from training.card import Figure, Section
from training.classifier import Answers
from training.data.sets import ImageSet
from training.kinds.base import Evaluation
from training.markdown import table
from training.measures.proportion import Proportion
from training.plots.pictures import plot_captioned

SURE = 0.9
SHOWN = 40
LISTED = 5

NOTES = {
    "sure": f"share of test images answered with a probability above {SURE:g}",
    "sure_accuracy": "accuracy on those",
}


def report_mistakes(
    test: ImageSet, answers: Answers, classes: Sequence[str], folder: Path
) -> Evaluation:
    """Confident errors in numbers; the pictures themselves only on the run's own page."""
    predicted_N, confidence_N = answers.predicted, answers.probability.max(axis=1)
    wrong_N, sure_N = predicted_N != test.labels, confidence_N > SURE
    right_among_sure = Proportion(int((sure_N & ~wrong_N).sum()), int(sure_N.sum()))
    metrics = {"sure": float(sure_N.mean())}
    text = f"None of {len(wrong_N):,} test images is answered with more than {SURE:.0%}."
    if right_among_sure.trials:
        metrics["sure_accuracy"] = right_among_sure.value
        text = (
            f"{metrics['sure']:.1%} of the test images are answered with more than {SURE:.0%}; "
            f"{right_among_sure} of those answers are right."
        )
    pair_N = test.labels[wrong_N] * len(classes) + predicted_N[wrong_N]
    pairs, count_P = np.unique(pair_N, return_counts=True)
    rows = [
        (classes[pairs[at] // len(classes)], classes[pairs[at] % len(classes)], str(count_P[at]))
        for at in np.argsort(-count_P, kind="stable")[:LISTED]
    ]
    private: tuple[Figure, ...] = ()
    if rows:
        text += f"\n\n{table(('Most often', 'taken for', 'times'), rows)}"
        worst = np.flatnonzero(wrong_N)[np.argsort(-confidence_N[wrong_N], kind="stable")][:SHOWN]
        private = (Figure("mistakes.png", "Test images: label, answer, and how sure it was"),)
        captions = [
            (classes[test.labels[row]], f"{classes[predicted_N[row]]} {confidence_N[row]:.0%}")
            for row in worst
        ]
        plot_captioned(test.images[worst], captions, folder / private[0].file)
    return Evaluation(metrics, sections=(Section("Surest and wrong", text),), private=private)
