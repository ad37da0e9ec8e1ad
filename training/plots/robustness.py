"""Plots of what hurts a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.ticker import PercentFormatter

from training.measures.deletion import Mean
from training.plots.drawing import BLUE, GREY, drawing

Curves = Mapping[str, Mapping[int, float]]
"""For each line, accuracy (0 to 1) by how much was changed; 0 is nothing."""


def plot_robustness(attacks: Curves, corruptions: Curves, path: Path) -> Path:
    """Accuracy against the largest change in grey levels, and against a corruption's strength."""
    with drawing(path, height_in=3.4) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, curves, label in (
            (left, attacks, "Largest change, grey levels of 255"),
            (right, corruptions, "Strength of the corruption"),
        ):
            for name, points in curves.items():
                amounts = sorted(points)
                axes.plot(amounts, [points[a] for a in amounts], marker="o", label=name)
            axes.set(xlabel=label, ylim=(0, 1))
            axes.set_xticks(sorted({amount for points in curves.values() for amount in points}))
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
            axes.grid(axis="y")
            axes.legend(fontsize=8)
        left.set(title="Under attack", ylabel="Share right")
        right.set(title="Under common corruptions")
    return path


def plot_drops(drops: Mapping[str, Mean], path: Path) -> Path:
    """Bars of the mean fall in probability, each with its 95 % interval."""
    place = range(len(drops))
    with drawing(path, height_in=1.3 + 0.4 * len(drops)) as figure:
        axes = figure.add_subplot()
        axes.barh(
            place,
            [drop.value for drop in drops.values()],
            xerr=[drop.half_width for drop in drops.values()],
            color=BLUE,
            ecolor=GREY,
            capsize=4,
            height=0.6,
        )
        axes.set_yticks(place, list(drops))
        axes.invert_yaxis()
        axes.set(
            title="What covering takes away",
            xlabel="Mean fall of the top class' probability",
        )
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
    return path
