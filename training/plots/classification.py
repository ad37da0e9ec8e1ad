"""Plots of a classifier's figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from training.measures.calibration import Reliability
from training.plots.drawing import BLUE, GREY, RED, drawing

MAX_WRITTEN = 20  # classes beyond which numbers in the cells would be too small to read


def plot_confusion(
    confusion_CC: NDArray[np.int64],
    classes: Sequence[str],
    path: Path,
    *,
    title: str = "Confusion matrix",
    row_label: str = "Labelled class",
    column_label: str = "Predicted class",
) -> Path:
    """Heat map of counts [C, C], coloured by the share of each row; counts stand in the cells."""
    count = len(classes)
    total_C1 = np.maximum(confusion_CC.sum(axis=1, keepdims=True), 1)
    share_CC = confusion_CC / total_C1
    with drawing(path, height_in=min(3.0 + 0.33 * count, 9.0)) as figure:
        axes = figure.add_subplot()
        shown = axes.imshow(share_CC, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
        axes.set(title=title, xlabel=column_label, ylabel=row_label)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        if count <= MAX_WRITTEN:
            axes.set_xticks(range(count), classes, rotation=40, ha="right", rotation_mode="anchor")
            axes.set_yticks(range(count), classes)
            for (row, column), cell in np.ndenumerate(confusion_CC):
                if cell:
                    shade = "white" if share_CC[row, column] > 0.5 else "black"
                    axes.text(
                        column, row, f"{cell}", ha="center", va="center", color=shade, fontsize=9
                    )
        figure.colorbar(
            shown, ax=axes, label="Share of the row", format=PercentFormatter(1.0), shrink=0.8
        )
    return path


def plot_reliability(bins: Reliability, path: Path, *, title: str = "Reliability") -> Path:
    """Accuracy against confidence in bins, with how many rows each bin holds below."""
    centre = (bins.edge[:-1] + bins.edge[1:]) / 2
    width = float(bins.edge[1] - bins.edge[0])
    filled = bins.count > 0
    with drawing(path, height_in=5.2) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.plot((0, 1), (0, 1), color=GREY, linestyle="--", label="calibrated")
        upper.bar(
            centre[filled],
            bins.accuracy[filled],
            width=0.92 * width,
            color=BLUE,
            alpha=0.35,
            label="accuracy of the bin",
        )
        upper.plot(
            bins.confidence[filled],
            bins.accuracy[filled],
            color=RED,
            marker="o",
            markersize=4,
            label="accuracy at mean confidence",
        )
        upper.set(ylabel="Accuracy", xlim=(0, 1), ylim=(0, 1.02))
        upper.yaxis.set_major_formatter(PercentFormatter(1.0))
        # Above the axes: a bin of a row or two may be as high as they are.
        upper.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2, ncols=3)
        upper.set_title(f"{title}: expected calibration error {bins.expected_error:.2%}", pad=24)
        upper.grid(axis="y")
        lower.bar(centre, bins.count, width=0.92 * width, color=GREY)
        lower.set(xlabel="Confidence in the predicted class", ylabel="Rows")
        lower.xaxis.set_major_formatter(PercentFormatter(1.0))
        lower.grid(axis="y")
    return path


def plot_class_shares(
    share_C: NDArray[np.float64],
    classes: Sequence[str],
    path: Path,
    *,
    title: str,
    value_label: str,
    overall: float | None = None,
) -> Path:
    """Bars of one share (0 to 1) per class, best first, with the overall share as a line."""
    order = np.argsort(-np.nan_to_num(share_C, nan=-1.0), kind="stable")[::-1]
    position = np.arange(len(order))
    with drawing(path, height_in=min(1.4 + 0.3 * len(order), 9.0)) as figure:
        axes = figure.add_subplot()
        axes.barh(position, share_C[order], color=BLUE, height=0.72)
        axes.set_yticks(position, [classes[index] for index in order])
        for place, index in enumerate(order):
            if np.isfinite(share_C[index]):
                axes.text(1.015, place, f"{share_C[index]:.1%}", va="center", fontsize=9)
        if overall is not None:
            axes.axvline(overall, color=RED, linestyle="--", label=f"overall {overall:.1%}")
            axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2)
            axes.set_title(title, pad=24)
        else:
            axes.set_title(title)
        axes.set(xlabel=value_label, xlim=(0, 1), ylim=(-0.6, len(order) - 0.4))
        axes.set_xticks(np.linspace(0, 1, 6))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
    return path
