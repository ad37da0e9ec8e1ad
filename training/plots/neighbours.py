"""How near samples come to training examples, beside how near unseen examples come."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.plots.drawing import BLUE, GREY, RED, drawing

BINS = 50

Distances = tuple[NDArray[np.float64], NDArray[np.float64]]


def plot_nearness(
    by_space: Mapping[str, Distances],
    path: Path,
    *,
    quantile: float,
    title: str = "Distance to the nearest training image",
) -> Path:
    """Shares of samples and of unseen images by their distance to the nearest training image.

    Args:
        by_space: what the distance is taken in, to (samples' distances, unseen images').
        path: PNG to write.
        quantile: of the unseen images' distances; drawn as a line.
        title: above all.

    """
    with drawing(path, height_in=3.6) as figure:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        panels = figure.subplots(1, len(by_space), squeeze=False)[0]
        for axes, (space, (sample_N, unseen_M)) in zip(panels, by_space.items(), strict=True):
            top = max(float(sample_N.max()), float(unseen_M.max()))
            edge = np.linspace(0.0, top * 1.001, BINS + 1).tolist()
            for distance, colour, label in (
                (unseen_M, GREY, "test images"),
                (sample_N, BLUE, "samples"),
            ):
                share = np.full(len(distance), 100.0 / len(distance))
                axes.hist(distance, edge, weights=share, color=colour, alpha=0.6, label=label)
            axes.axvline(
                float(np.quantile(unseen_M, quantile)),
                color=RED,
                linestyle="--",
                linewidth=1.2,
                label=f"nearest {quantile:.0%} of test images",
            )
            axes.set(xlabel=space, ylabel="Share, %")
            axes.grid(axis="y")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9)
    return path
