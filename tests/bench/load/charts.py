"""Pictures of the reports."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, GREY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#6b7280"
_QUANTILES = (("p50_ms", "p50", GREEN), ("p90_ms", "p90", ORANGE), ("p99_ms", "p99", BLUE))
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "triptych",
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e7eb",
    "axes.axisbelow": True,
}


def svg(figure: Figure) -> str:
    """A figure as SVG, the same for the same figure."""
    file = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :]


def figure(rows: int = 1, columns: int = 1, *, width: float = 6.4, height: float = 3.4) -> Any:
    """A figure and its axes, an array unless there is one."""
    with mpl.rc_context(_STYLE):
        made = Figure(figsize=(width * columns, height * rows), layout="constrained")
        return made, made.subplots(rows, columns)


def draw_curve(axes: Axes, endpoint: Mapping[str, Any]) -> None:
    """Latency against good answers per second; one endpoint, each of its parts a line per
    quantile, or for a mix the p99 of each part. Crosses are steps of a higher rate that answered
    no more than one before.
    """
    objectives_ms = endpoint["objectives_ms"]
    alone = len(objectives_ms) == 1
    palette = dict(zip(objectives_ms, (BLUE, ORANGE, GREEN, RED, GREY, "#cc79a7"), strict=False))
    for part in objectives_ms:
        for key, name, colour in _QUANTILES if alone else (_QUANTILES[-1],):
            rising, beyond = _rising(_medians(endpoint["points"], part, key))
            colour = colour if alone else palette[part]  # noqa: PLW2901
            axes.plot(*zip(*rising, strict=True), marker="o", markersize=3, linewidth=1.3,
                      color=colour, label=name if alone else f"{part}, {name}")  # fmt: skip
            if beyond:
                axes.plot(*zip(*beyond, strict=True), "x", markersize=4, alpha=0.6, color=colour)
    if alone:
        (objective_ms,) = objectives_ms.values()
        axes.axhline(objective_ms, color=RED, linestyle="--", linewidth=1,
                     label=f"objective, p99 of {objective_ms:g} ms")  # fmt: skip
    if endpoint["highest"]:
        axes.axvline(endpoint["highest"], color=GREY, linestyle=":", linewidth=1.2,
                     label=f"highest rate, {endpoint['highest']:,.0f}/s")  # fmt: skip
    axes.set_yscale("log")
    axes.set_xlim(left=0)
    axes.set_xlabel("good answers per second")
    axes.set_ylabel("latency, ms")
    axes.set_title(endpoint["title"], fontsize=10)
    axes.legend(fontsize=7.5, frameon=False)


def _medians(points: Sequence[Mapping[str, Any]], part: str, key: str) -> list[tuple[float, float]]:
    """Goodput and a part's figure at each rate, in the order of rates: medians of its steps that
    are not void.
    """
    by_rate: dict[float, list[Mapping[str, Any]]] = {}
    for point in points:
        if not point["void"] and point["parts"][part][key] is not None:
            by_rate.setdefault(point["rate"], []).append(point)
    return [
        (
            median(point["goodput"] for point in by_rate[rate]),
            median(point["parts"][part][key] for point in by_rate[rate]),
        )
        for rate in sorted(by_rate)
    ]


def _rising(known: Sequence[tuple[float, float]]) -> tuple[list[Any], list[Any]]:
    """Points, by offered rate, at which more was answered than before, and the others."""
    rising: list[tuple[float, float]] = []
    beyond: list[tuple[float, float]] = []
    for point in known:
        (beyond if rising and point[0] <= rising[-1][0] else rising).append(point)
    return rising, beyond


def draw_cost(axes: Axes, cost: Mapping[str, Any]) -> None:
    """Runs, the line fitted to them, and what the service said under load."""
    rows, seconds = cost["runs"]["rows"], cost["runs"]["seconds"]
    axes.scatter(rows, [1000 * one for one in seconds], s=9, color=BLUE, alpha=0.35,
                 label=f"runs in the {cost['source']}")  # fmt: skip
    most = max(rows)
    axes.plot([0, most], [cost["a_ms"], cost["a_ms"] + most * cost["b_ms"]], color=RED,
              linewidth=1.3,
              label=f"{cost['a_ms']:.3f} ms + {cost['b_ms']:.3f} ms x rows")  # fmt: skip
    if cost["seen"] and cost["source"] == "session":
        axes.scatter([one["rows"] for one in cost["seen"]],
                     [1000 * one["seconds"] for one in cost["seen"]], s=16, marker="x",
                     color="black", linewidth=0.8, label="means under load (metrics)")  # fmt: skip
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("rows in a run")
    axes.set_ylabel("time, ms")
    axes.set_title(f"{cost['model']} ({cost['precision']})", fontsize=10)
    axes.legend(fontsize=7.5, frameon=False)


def draw_samples(
    axes: Axes, x: Sequence[float], lines: Mapping[str, Sequence[float | None]], unit: str
) -> None:
    """Values over minutes."""
    for (name, values), colour in zip(
        lines.items(), (BLUE, ORANGE, GREEN, RED, GREY), strict=False
    ):
        known = [(at, value) for at, value in zip(x, values, strict=True) if value is not None]
        axes.plot([at for at, _ in known], [value for _, value in known], color=colour,
                  linewidth=1.2, label=name)  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.set_xlabel("minutes")
    axes.set_ylabel(unit)
    axes.legend(fontsize=7.5, frameon=False)


def curves_png(endpoints: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Every endpoint's curve in one picture."""
    columns = 2 if len(endpoints) > 1 else 1
    made, axes = figure(-(-len(endpoints) // columns), columns, width=5.2, height=3.2)
    flat = list(axes.flat) if len(endpoints) > 1 else [axes]
    for one, endpoint in zip(flat, endpoints, strict=False):
        draw_curve(one, endpoint)
    for spare in flat[len(endpoints) :]:
        spare.set_visible(False)
    made.savefig(path, dpi=110)
