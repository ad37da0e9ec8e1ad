"""Plots of two samples side by side, and of how one changes from day to day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.plots.drawing import BLUE, GREY, ORANGE, RED, drawing

MAX_BARS = 40
COLUMNS = 3
HISTOGRAM_BINS = 30


def plot_psi(indices: Mapping[str, float], path: Path, *, note: float, refuse: float) -> Path:
    """A bar for each feature's population stability index, and where it is too much."""
    position = np.arange(len(indices))
    with drawing(path, height_in=1.4 + 0.3 * len(indices)) as figure:
        axes = figure.add_subplot()
        colours = [RED if index >= refuse else BLUE for index in indices.values()]
        axes.barh(position, list(indices.values()), height=0.72, color=colours)
        axes.axvline(note, color=GREY, linestyle=":", label=f"{note:g}: noted")
        axes.axvline(refuse, color=RED, linestyle="--", label=f"{refuse:g}: too much")
        axes.set_yticks(position, list(indices))
        axes.invert_yaxis()
        axes.set_title("How far each feature has moved", pad=24)
        axes.set(xlabel="Population stability index")
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, borderaxespad=0.2)
    return path


def plot_values(
    expected: Mapping[str, NDArray[Any]], observed: Mapping[str, NDArray[Any]], path: Path
) -> Path:
    """Histograms of each feature that both have, densities over common bins."""
    names = [name for name in observed if name in expected]
    rows = -(-len(names) // COLUMNS)
    with drawing(path, height_in=0.6 + 1.7 * rows) as figure:
        for number, name in enumerate(names):
            axes = figure.add_subplot(rows, COLUMNS, number + 1)
            both = np.concatenate([expected[name], observed[name]])
            edges = np.histogram_bin_edges(both, HISTOGRAM_BINS)
            for sample, colour, label in (
                (expected[name], BLUE, "training"),
                (observed[name], ORANGE, "now"),
            ):
                axes.hist(
                    sample, edges.tolist(), density=True, color=colour, alpha=0.55, label=label
                )
            axes.set_title(name)
            axes.set_yticks([])
            if number == 0:
                axes.legend(fontsize=8)
    return path


def plot_shares(
    expected: Mapping[str, int], observed: Mapping[str, int], path: Path, *, what: str
) -> Path:
    """Shares of the commonest categories, in the reference and now."""
    names = sorted({*expected, *observed}, key=lambda name: -expected.get(name, 0))[:MAX_BARS]
    position = np.arange(len(names))
    with drawing(path, height_in=1.4 + 0.22 * len(names)) as figure:
        axes = figure.add_subplot()
        for counts, colour, label, shift in (
            (expected, BLUE, "training", -0.2),
            (observed, ORANGE, "now", 0.2),
        ):
            total = max(1, sum(counts.values()))
            shares = [counts.get(name, 0) / total for name in names]
            axes.barh(position + shift, shares, height=0.38, color=colour, label=label)
        shown = [name if name.isprintable() and name.strip() else repr(name) for name in names]
        axes.set_yticks(position, [name.replace("$", r"\$") for name in shown])
        axes.invert_yaxis()
        axes.set_title(f"Share by {what}", pad=24)
        axes.set(xlabel="Share")
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, borderaxespad=0.2)
    return path


def plot_scores(days: Sequence[date], scores: Sequence[float], path: Path) -> Path:
    """The probability of the answers from day to day: median, and the middle four fifths."""
    score_N = np.array(scores)
    ordinal_N = np.array([day.toordinal() for day in days])
    shown = np.unique(ordinal_N)
    low, middle, high = np.array(
        [np.quantile(score_N[ordinal_N == day], (0.1, 0.5, 0.9)) for day in shown]
    ).T
    with drawing(path, height_in=3.0) as figure:
        axes = figure.add_subplot()
        axes.fill_between(shown, low, high, color=BLUE, alpha=0.2, linewidth=0)
        axes.plot(shown, middle, color=BLUE, marker="o")
        some = shown[:: max(1, len(shown) // 6)]
        axes.set_xticks(some, [date.fromordinal(int(day)).isoformat() for day in some])
        axes.set_ylim(0, 1.02)
        axes.set_title("Confidence from day to day: median, 10 % to 90 %")
        axes.set(ylabel="Probability of the answer")
    return path
