"""Which groups of images fare worse, and by how much: classes, and quarters by what they are like.

After the disaggregated evaluation of Mitchell et al., Model Cards for Model Reporting, 2019
(arXiv:1810.03993).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.card import Figure, Section
from training.data.sets import ImageSet
from training.kinds.base import Evaluation
from training.markdown import table
from training.measures.groups import QUARTERS, qualities, quarters, shares
from training.measures.proportion import Proportion
from training.plots.groups import plot_groups
from training.reports.cells import share_cells

NOTES = {
    "accuracy_gap": "accuracy of the best group of this grouping less that of the worst, 0 to 1",
    "group_accuracy": "accuracy on a quarter of the test images, 1 the least of the quality",
}
_QUARTERS = {
    "brightness": ("darkest", "brightest"),
    "contrast": ("flattest", "most contrasted"),
    "colour": ("greyest", "most colourful"),
    "detail": ("plainest", "most detailed (as JPEG bytes)"),
}


def report_fairness(
    test: ImageSet, predicted_N: NDArray[np.int64], classes: Sequence[str], folder: Path
) -> Evaluation:
    """Accuracy of every group with its interval; draws `groups.png`."""
    right_N = predicted_N == test.labels
    groups: dict[str, dict[str, Proportion]] = {
        "class": dict(zip(classes, shares(right_N, test.labels, groups=len(classes)), strict=True))
    }
    metrics: dict[str, float] = {}
    for quality, value_N in qualities(test.images).items():
        found = shares(right_N, quarters(value_N), groups=QUARTERS)
        least, most = _QUARTERS[quality]
        names = (least, "second quarter", "third quarter", most)
        groups[quality] = dict(zip(names, found, strict=True))
        for number, proportion in enumerate(found, 1):
            metrics[f"group_accuracy.{quality}_{number}"] = proportion.value
    for grouping, members in groups.items():
        measured = [member.value for member in members.values() if member.trials]
        metrics[f"accuracy_gap.{grouping}"] = max(measured) - min(measured)
    figure = Figure("groups.png", "Accuracy of each group, with its 95 % interval")
    overall = Proportion(int(right_N.sum()), len(right_N))
    plot_groups(groups, folder / figure.file, overall=overall.value)
    text = "\n\n".join([_summary(groups), _table(groups)])
    return Evaluation(metrics, sections=(Section("Who fares worse", text, (figure,)),))


def _summary(groups: Mapping[str, Mapping[str, Proportion]]) -> str:
    sentences = []
    for grouping, members in groups.items():
        counted = {name: member for name, member in members.items() if member.trials}
        worst = min(counted, key=lambda name: counted[name].value)
        best = max(counted, key=lambda name: counted[name].value)
        gap = counted[best].value - counted[worst].value
        clear = counted[worst].high < counted[best].low
        sentences.append(
            f"By {grouping}, {worst} fares worst ({counted[worst].value:.1%}), {100 * gap:.1f} "
            f"points below {best}; their intervals {'do not ' if clear else ''}overlap."
        )
    return " ".join(sentences)


def _table(groups: Mapping[str, Mapping[str, Proportion]]) -> str:
    rows = [
        (grouping, name, *share_cells(member))
        for grouping, members in groups.items()
        for name, member in members.items()
    ]
    return table(("Grouping", "Group", "Accuracy", "95 % interval", "Images"), rows)
