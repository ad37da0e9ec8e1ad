"""Plots of figures along a run, or along a text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import StrMethodFormatter
from numpy.typing import NDArray

from training.plots.drawing import GREY, drawing

COLUMNS = 2


@dataclass(frozen=True)
class Panel:
    """One set of axes: the metrics of these names, against the record's step.

    `floor` is drawn as a line: what the gate demands.
    """

    title: str
    metrics: tuple[str, ...]
    label: str
    floor: float | None = None
    log_scale: bool = False


def plot_curves(
    records: Sequence[Mapping[str, float]],
    panels: Sequence[Panel],
    path: Path,
    *,
    step: str = "step",
    step_label: str = "Optimiser step",
) -> Path:
    """Draw metrics along a run.

    Args:
        records: one mapping per line of the metrics file; a record need not hold every metric.
        panels: what to draw; a panel none of whose metrics was recorded is left out.
        path: PNG to write.
        step: key that holds the horizontal position.
        step_label: its name and unit.

    """
    drawn = [
        panel
        for panel in panels
        if any(metric in record for record in records for metric in panel.metrics)
    ]
    assert drawn, "records hold none of the metrics to draw"
    columns = min(COLUMNS, len(drawn))
    rows = math.ceil(len(drawn) / columns)
    with drawing(path, height_in=2.9 * rows) as figure:
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, panel in zip(grid.flat, drawn, strict=False):
            _draw_panel(axes, panel, records, step)
            axes.set_xlabel(step_label)
        for axes in grid.flat[len(drawn) :]:
            axes.set_visible(False)
    return path


def _draw_panel(
    axes: Axes, panel: Panel, records: Sequence[Mapping[str, float]], step: str
) -> None:
    for metric in panel.metrics:
        points = [(record[step], record[metric]) for record in records if metric in record]
        if points:
            x, y = zip(*points, strict=True)
            marker = "o" if len(points) <= 30 else None
            axes.plot(x, y, label=metric, marker=marker, markersize=3.5)
    if panel.floor is not None:
        axes.axhline(panel.floor, color=GREY, linestyle="--", label=f"gate {panel.floor:g}")
    axes.set(title=panel.title, ylabel=panel.label)
    if panel.log_scale:
        axes.set_yscale("log")
    axes.grid(axis="y")
    axes.legend(fontsize=8)


def plot_loss_by_position(
    loss_nats_T: NDArray[np.floating],
    path: Path,
    *,
    title: str = "Loss by position in the window",
) -> Path:
    """Mean loss [T] at each position of a window: how much a longer context helps."""
    position = np.arange(1, len(loss_nats_T) + 1)
    with drawing(path, height_in=3.0) as figure:
        axes = figure.add_subplot()
        axes.plot(position, loss_nats_T, linewidth=1.2)
        mean = float(np.mean(loss_nats_T))
        axes.axhline(mean, color=GREY, linestyle="--", label=f"mean {mean:.3f} nats")
        axes.set(
            title=title,
            xlabel="Position, characters from a zero state",
            ylabel="Loss, nats per character",
            xscale="log",
        )
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
        axes.grid(axis="y")
        axes.legend()
    return path
