"""Shares by class with how sure one can be of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import PercentFormatter

from training.measures.proportion import Proportion
from training.plots.drawing import BLUE, RED, drawing


def plot_intervals(
    shares: Sequence[Proportion],
    names: Sequence[str],
    path: Path,
    *,
    title: str,
    value_label: str,
    overall: Proportion,
) -> Path:
    """A dot for each share, best first, in its 95 % interval; the overall share as a line."""
    order = np.argsort([share.value for share in shares], kind="stable")
    value = np.array([shares[index].value for index in order])
    reach = np.array(
        [
            [shares[index].value - shares[index].low for index in order],
            [shares[index].high - shares[index].value for index in order],
        ]
    )
    place = np.arange(len(order))
    with drawing(path, height_in=min(1.5 + 0.28 * len(order), 9.0)) as figure:
        axes = figure.add_subplot()
        axes.errorbar(
            value, place, xerr=reach.clip(min=0), fmt="o", color=BLUE, capsize=3, linewidth=1.4
        )
        axes.set_yticks(place, [names[index] for index in order])
        for row, share in enumerate(value):
            axes.text(1.015, row, f"{share:.1%}", va="center", fontsize=9)
        axes.axvline(overall.value, color=RED, linestyle="--", label=f"overall {overall.value:.1%}")
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2)
        axes.set_title(title, pad=24)
        left = max(0.0, float(np.floor((value - reach[0]).min() * 10) / 10))
        axes.set(xlabel=f"{value_label}, with 95 % interval", xlim=(left, 1.0))
        axes.set_ylim(-0.6, len(order) - 0.4)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
    return path
