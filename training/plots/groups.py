"""Shares of groups within groupings, each with how sure one can be of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.ticker import PercentFormatter

from training.measures.proportion import Proportion
from training.plots.drawing import COLOURS, GREY, drawing


def plot_groups(
    groups: Mapping[str, Mapping[str, Proportion]], path: Path, *, overall: float
) -> Path:
    """A dot in its 95 % interval for each group, a colour for each grouping, top to bottom."""
    lines = [
        (grouping, name, share)
        for grouping, members in groups.items()
        for name, share in members.items()
        if share.trials
    ]
    colour = {name: COLOURS[at % len(COLOURS)] for at, name in enumerate(groups)}
    with drawing(path, height_in=min(1.2 + 0.22 * len(lines), 12.0)) as figure:
        axes = figure.add_subplot()
        for place, (grouping, _, share) in enumerate(lines):
            axes.plot((share.low, share.high), (place, place), color=colour[grouping])
            axes.plot(share.value, place, marker="o", color=colour[grouping])
        axes.axvline(overall, color=GREY, linestyle="--")
        axes.set_yticks(
            range(len(lines)),
            [f"{grouping}: {name}" for grouping, name, _ in lines],
            fontsize=8,
        )
        axes.set(title="Accuracy of each group", xlabel="Share right, with its 95 % interval")
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
    return path
