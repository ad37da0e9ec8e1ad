"""The evaluation as a page beside its plots: what the card says of it, and what stays at home.

Unlike the card it may show the data set's own pictures, so it lies in the run's folder and is not
published.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from training.card import show
from training.kinds.base import Evaluation
from training.markdown import document, fence, table

REPORT_FILE = "report.md"


def write_report(
    folder: Path, title: str, evaluation: Evaluation, notes: Mapping[str, str]
) -> Path:
    """Write `report.md` into the folder of the evaluation's plots.

    `notes` says what a metric of this name means, with its unit.
    """
    rows = [
        (f"`{name}`", f"{value:.6g}", notes.get(name.partition(".")[0], ""))
        for name, value in evaluation.metrics.items()
    ]
    samples = [f"{sample.title}:\n\n{fence(sample.text)}" for sample in evaluation.samples]
    content = [
        (title, ["Not for publication: it may show pictures of the data set."]),
        ("Plots", show(evaluation.figures)),
        *(
            (section.title, [section.text, *show(section.figures)])
            for section in evaluation.sections
        ),
        ("Pictures of the data set", show(evaluation.private)),
        ("Samples", samples),
        ("Every figure", [table(("Metric", "Value", "Meaning"), rows)]),
    ]
    path = folder / REPORT_FILE
    path.write_text(document(content), encoding="utf-8")
    return path
