"""Does a generator draw what it was asked for?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.card import Figure, Section
from training.gallery import Gallery
from training.kinds.base import Evaluation
from training.measures.agreement import agreement
from training.measures.proportion import Proportion
from training.plots.classification import plot_confusion
from training.plots.intervals import plot_intervals

NOTES = {
    "class_agreement": "share of samples that the judge classifier sees as the class asked for",
    "class_agreement_low": "lower end of its 95 % Wilson interval",
    "class_agreement_high": "upper end of its 95 % Wilson interval",
    "worst_class_agreement": "agreement of the class that does worst",
    "judge_accuracy": "the judge's own accuracy on real test images: what perfect samples reach",
}


def report_agreement(gallery: Gallery, folder: Path) -> Evaluation:
    """Compare the classes asked for with those that the judge sees."""
    names, judge = gallery.data.classes, gallery.judge
    found = agreement(
        gallery.drawn.judged, gallery.positions[gallery.asked], classes=len(judge.labels)
    )
    by_class = [
        Proportion(successes=int(found.confusion[at, at]), trials=int(found.confusion[at].sum()))
        for at in gallery.positions
    ]
    values = np.array([share.value for share in by_class])
    judge_right = gallery.test.judged == gallery.positions[gallery.data.test.labels]
    metrics = {
        "class_agreement": found.overall.value,
        "class_agreement_low": found.overall.low,
        "class_agreement_high": found.overall.high,
        "worst_class_agreement": float(values.min()),
        "judge_accuracy": float(judge_right.mean()),
    }
    metrics |= {
        f"class_agreement.{name}": share.value for name, share in zip(names, by_class, strict=True)
    }
    plot_intervals(
        by_class,
        names,
        folder / "classes.png",
        title="Agreement by class",
        value_label="Share seen as the class asked for",
        overall=found.overall,
    )
    plot_confusion(
        found.confusion,
        judge.labels,
        folder / "agreement.png",
        title="What the judge saw",
        row_label="Class asked for",
        column_label="Class seen by the judge",
    )
    worst, best = int(values.argmin()), int(values.argmax())
    text = (
        f"{judge.title} judged {len(gallery.asked):,} samples, none rejected: {found.overall} are "
        f"seen as the class asked for; {names[best]} best ({by_class[best]}), {names[worst]} "
        f"worst ({by_class[worst]}). The judge itself is right on {metrics['judge_accuracy']:.2%} "
        "of real test images."
    )
    figures = (
        Figure("classes.png", "Agreement by class, with 95 % intervals"),
        Figure("agreement.png", "Classes asked for against classes seen by the judge"),
    )
    return Evaluation(metrics, sections=(Section("Agreement", text, figures),))
