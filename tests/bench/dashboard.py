"""`make dashboard`: a picture of the Grafana dashboard, into docs/dashboard.png.

Grafana itself is not at hand where this runs, so the picture is drawn here: each panel of the
shipped dashboard at its place, with its title, unit and legend, and in it what a real Prometheus
answers to the panel's own queries after it has watched a real service for some minutes, in which
there were requests of every kind, a swap, a canary, a damaged version and an overload.
"""

from __future__ import annotations

import argparse
import math
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tests.deploy.dashboard import DASHBOARD, filled
from tests.deploy.prometheus import Prometheus, scraping
from tests.deploy.scene import Scene, staged

CELL_IN = (0.78, 0.36)  # a cell of Grafana's grid, width and height
ROOM_IN = 0.5  # for the caption
COLORS = (
    "#56a64b", "#f2cc0c", "#3274d9", "#ff780a", "#e02f44", "#8f3bb8", "#37872d", "#1f60c4",
    "#c4162a", "#fa6400", "#e0b400", "#7c2ea3",
)  # fmt: skip
NAMED = {
    "green": "#56a64b", "yellow": "#f2cc0c", "blue": "#3274d9", "orange": "#ff780a",
    "red": "#e02f44", "purple": "#8f3bb8", "gray": "#808080", "transparent": "none",
}  # fmt: skip
WINDOW = "10s"  # in place of $__rate_interval: Grafana takes four scrapes at least
LEGENDS = 8  # more would not fit


@dataclass(frozen=True)
class Seen:
    """A Prometheus and the time that the picture shows."""

    prometheus: Prometheus
    start_s: float
    end_s: float


def play(scene: Scene, minutes: float) -> None:
    """Let everything happen once, in the order that the picture then shows."""
    part_s = minutes * 60 / 8
    with scene.traffic(clients=2, pause_s=0.02):
        time.sleep(2 * part_s)
        scene.swap()
        time.sleep(part_s)
        scene.canary(window_s=1.5 * part_s, least_requests=100)
        time.sleep(2.5 * part_s)
        scene.damage()
        time.sleep(part_s)
        scene.crowd(clients=16, rounds=6)
        time.sleep(1.5 * part_s)


# --- numbers as Grafana words them --------------------------------------------------------------


def worded(value: float, unit: str | None) -> str:
    """A value with its unit."""
    if math.isnan(value):
        return "no data"
    if unit == "s":
        if value == 0:
            return "0 s"
        for size, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
            if abs(value) >= size:
                return f"{value / size:.3g} {name}"
    if unit == "percentunit":
        return f"{100 * value:,.0f}%" if abs(value) >= 10 else f"{100 * value:.3g}%"
    text = f"{value / 1000:.3g} K" if abs(value) >= 1000 else f"{value:.3g}"
    return text + {"reqps": " req/s", "cps": " c/s"}.get(unit or "", "")


def named(series: Any, legend: str) -> str:
    """A series by its panel's legend."""
    labels = series["metric"]
    if legend:
        return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), legend).strip()
    return ", ".join(f"{name}={value}" for name, value in labels.items())


# --- panels -------------------------------------------------------------------------------------


Line = tuple[str, list[float], list[float]]
"""Name, seconds since the start, values."""


def lines_of(panel: dict[str, Any], seen: Seen) -> list[Line]:
    """What a panel's queries answer, by name."""
    lines: list[Line] = []
    for target in panel["targets"]:
        query = filled(target["expr"], WINDOW)
        for series in seen.prometheus.ask_range(query, seen.start_s, seen.end_s, 1.0):
            times = [float(at) - seen.start_s for at, _ in series["values"]]
            values = [float(value) for _, value in series["values"]]
            lines.append((named(series, target.get("legendFormat", "")), times, values))
    return sorted(lines)


def draw_timeseries(axes: Axes, panel: dict[str, Any], seen: Seen) -> None:
    """Lines, or areas one on the other, over the time that is shown."""
    defaults = panel["fieldConfig"]["defaults"]
    custom = defaults.get("custom", {})
    fixed = {
        override["matcher"]["options"]: NAMED[override["properties"][0]["value"]["fixedColor"]]
        for override in panel["fieldConfig"]["overrides"]
    }
    stacked = custom.get("stacking", {}).get("mode") == "normal"
    floor: dict[float, float] = {}
    lines = lines_of(panel, seen)
    for number, (name, times, values) in enumerate(lines):
        color = fixed.get(name, COLORS[number % len(COLORS)])
        below = [floor.get(at, 0.0) for at in times]
        top = [low + value for low, value in zip(below, values, strict=True)]
        if stacked:
            floor |= dict(zip(times, top, strict=True))
        axes.plot(times, top, color=color, linewidth=1.2, label=name if number < LEGENDS else None)
        axes.fill_between(times, below, top, color=color, alpha=0.35 if stacked else 0.05, lw=0)
    axes.set_xlim(0, seen.end_s - seen.start_s)
    axes.set_ylim(bottom=0)
    if not any(value for _, _, values in lines for value in values):
        axes.set_ylim(0, 1)
    if custom.get("thresholdsStyle"):
        for step in defaults["thresholds"]["steps"][1:]:
            axes.axhline(step["value"], color=NAMED[step["color"]], linewidth=0.9, linestyle="--")
    mark_notes(axes, seen)
    dress(axes, defaults.get("unit"))
    if lines:
        longest = max(len(name) for name, _, _ in lines)
        axes.legend(
            loc="upper left", bbox_to_anchor=(-0.02, -0.13), fontsize=7.5, frameon=False,
            ncols=4 if longest < 12 else 3 if longest < 22 else 2, handlelength=1.0,
            columnspacing=1.0, borderpad=0, labelspacing=0.2,
        )  # fmt: skip


def mark_notes(axes: Axes, seen: Seen) -> None:
    """A line where one of the dashboard's annotations begins."""
    for note in DASHBOARD["annotations"]["list"]:
        query = filled(note["expr"], WINDOW)
        for series in seen.prometheus.ask_range(query, seen.start_s, seen.end_s, 1.0):
            at_s = float(series["values"][0][0]) - seen.start_s
            axes.axvline(at_s, color=NAMED[note["iconColor"]], linewidth=0.9, linestyle=":")


def dress(axes: Axes, unit: str | None) -> None:
    """Grid, ticks and their units."""
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: worded(value, unit)))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{int(value) // 60}:{int(value) % 60:02d}")
    )
    axes.tick_params(labelsize=7.5, colors="#555", length=2)
    axes.grid(color="#e4e7eb", linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#c8ccd0")


def draw_stat(axes: Axes, panel: dict[str, Any], seen: Seen) -> None:
    """The last value, in the colour of its threshold, over what it was before."""
    axes.axis("off")
    defaults = panel["fieldConfig"]["defaults"]
    query = filled(panel["targets"][0]["expr"], WINDOW)
    found = seen.prometheus.ask_range(query, seen.start_s, seen.end_s, 1.0)
    values = [float(value) for _, value in found[0]["values"]] if found else [math.nan]
    color = "green"
    for step in defaults.get("thresholds", {"steps": []})["steps"]:
        if step["value"] is None or values[-1] >= step["value"]:
            color = step["color"]
    if panel["options"].get("graphMode") == "area":
        axes.fill_between(
            range(len(values)), values, min(0, *values), color=NAMED[color], alpha=0.15
        )
        axes.margins(x=0)
        axes.set_ylim(top=2.2 * max(*values, 1e-9, 0))
    axes.text(
        0.5, 0.55, worded(values[-1], defaults.get("unit")), transform=axes.transAxes,
        ha="center", va="center", fontsize=20, color=NAMED[color], weight="bold",
    )  # fmt: skip


def draw_table(axes: Axes, panel: dict[str, Any], seen: Seen) -> None:
    """A row a series."""
    axes.axis("off")
    how = panel["transformations"][0]["options"]
    query = filled(panel["targets"][0]["expr"], WINDOW)
    rows = [
        series["metric"] | {"Value": worded(float(series["value"][1]), None)}
        for series in seen.prometheus.ask(query)
    ]
    order = how["indexByName"]
    columns = sorted({name for row in rows for name in row}, key=lambda name: order.get(name, 99))
    rows.sort(key=lambda row: [row.get(name, "") for name in columns])
    shown = [how["renameByName"].get(column, column) for column in columns]
    cells = [shown, *([row.get(column, "") for column in columns] for row in rows)]
    widths = [max(map(len, column)) + 4 for column in zip(*cells, strict=True)]
    for line, texts in enumerate(cells):
        for place, text in enumerate(texts):
            axes.text(
                sum(widths[:place]) / sum(widths), 0.92 - 0.14 * line, text, fontsize=8, va="top",
                transform=axes.transAxes, color="#333" if line else NAMED["blue"],
                weight="normal" if line else "bold",
            )  # fmt: skip


DRAW: dict[str, Callable[[Axes, dict[str, Any], Seen], None]] = {
    "timeseries": draw_timeseries,
    "stat": draw_stat,
    "table": draw_table,
}


def draw(seen: Seen) -> Figure:
    """The whole dashboard."""
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in DASHBOARD["panels"])
    width, height = 24 * CELL_IN[0], rows * CELL_IN[1] + ROOM_IN
    figure = Figure(figsize=(width, height), facecolor="#f4f5f5")
    figure.text(
        0.008, 1 - 0.28 / height,
        "Dashboard triptych.json, drawn from its own queries by make dashboard (not by Grafana): a "
        "Prometheus that scraped each second, and a service on two shared cores under a test load.",
        fontsize=11, color="#333", va="center",
    )  # fmt: skip
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        left, wide = place["x"] / 24, place["w"] / 24
        top = 1 - (ROOM_IN + place["y"] * CELL_IN[1]) / height
        high = place["h"] * CELL_IN[1] / height
        gap_x, gap_y = 0.05 / width, 0.05 / height
        corner = (left + gap_x, top - high + gap_y)
        card = figure.add_axes((*corner, wide - 2 * gap_x, high - 2 * gap_y))
        card.set_xticks([])
        card.set_yticks([])
        for spine in card.spines.values():
            spine.set_color("#d8dbde")
        figure.text(
            left + 0.12 / width, top - 0.16 / height, panel["title"], fontsize=9, weight="bold",
            color="#24292e", va="center",
        )  # fmt: skip
        plain = panel["type"] != "timeseries"
        margin_l, margin_b = (0.15, 0.1) if plain else (0.72, 0.78)
        axes = figure.add_axes((
            left + margin_l / width,
            top - high + margin_b / height,
            wide - (margin_l + 0.2) / width,
            high - (margin_b + 0.36) / height,
        ))  # fmt: skip
        axes.patch.set_alpha(0)
        DRAW[panel["type"]](axes, panel, seen)
    return figure


def main() -> None:
    """Start a service and a Prometheus, let things happen, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("models"))
    parser.add_argument("--out", type=Path, default=Path("docs/dashboard.png"))
    parser.add_argument("--minutes", type=float, default=4.0)
    options = parser.parse_args()
    binary = shutil.which("prometheus")
    if binary is None:
        parser.error("prometheus is not installed (Debian: apt-get install prometheus)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            staged(options.store, folder) as scene,
            scraping(binary, scene.port, folder / "prometheus") as prometheus,
        ):
            start_s = time.time()
            play(scene, options.minutes)
            figure = draw(Seen(prometheus, start_s, time.time()))
    figure.savefig(options.out, dpi=80)
    print(f"{options.out}: answers by status {dict(sorted(scene.statuses.items()))}")


if __name__ == "__main__":
    main()
