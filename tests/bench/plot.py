"""A picture of a report: each load's throughput as a share of its bare loop's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def plot(report: dict[str, Any], path: Path) -> None:
    """Draw a bar for each load that was measured."""
    rows = [row for row in report["results"] if "error" not in row]
    figure = Figure(figsize=(9, 0.42 * len(rows) + 1.5), layout="constrained")
    axes = figure.add_subplot()
    names = [f"{row['title']}, {row['connections']:,} conn." for row in rows]
    shares = [100 * row["share"] for row in rows]
    bars = axes.barh(names, shares, color="#0072b2")
    axes.axvline(100, color="#d55e00", linestyle="--", label="bare loop")
    axes.bar_label(
        bars,
        [f"{row['rate']:,.0f} {row['unit']}/s" for row in rows],
        padding=4,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )
    axes.set_xlim(0, max([140.0, *(1.4 * share for share in shares)]))
    axes.invert_yaxis()
    axes.set_xlabel("throughput over HTTP, % of the bare loop on the same core")
    axes.set_title("Served against bare")
    axes.legend(loc="upper right")
    figure.savefig(path, dpi=120)
