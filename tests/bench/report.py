"""The bench's report: JSON for machines, Markdown and a plot for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def markdown(report: dict[str, Any]) -> str:
    """The report as a table, with where and how it was measured."""
    machine = report["machine"]
    lines = [
        "| load | connections | per second | p50 ms | p99 ms | CPU-s per 1,000 "
        "| bare loop per second | share of it | CPU against it |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row['title']} | {row['connections']} | {row['rate']:,.0f} {row['unit']} "
        f"| {row['p50_ms']:.1f} | {row['p99_ms']:.1f} | {row['cpu_s_per_1000']:.3f} "
        f"| {row['bare_rate']:,.0f} | {row['rate'] / row['bare_rate']:.0%} "
        f"| {row['cpu_s_per_1000'] / row['bare_cpu_s_per_1000']:.2f}x |"
        for row in report["results"]
    ]
    service = report["service"]
    lines += [
        "",
        f"A worker with all models holds {service['worker_pss_mib']:.0f} MiB (PSS); the service "
        f"is ready {service['ready_s']:.1f} s after its start.",
        "",
        f"One server core, one client core, medians of {report['rounds']} interleaved rounds of "
        f"{report['duration_s']:g} s. {machine['processor']}, {machine['cores']} cores, "
        f"{machine['system']}, Python {machine['python']}, onnxruntime {machine['onnxruntime']}, "
        f"BentoML {machine['bentoml']}, {machine['date']}.",
    ]
    return "\n".join(lines)


def write_report(report: dict[str, Any], folder: Path) -> None:
    """Write bench.json and bench.png; print the table."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(report, indent=2) + "\n")
    _plot(report, folder / "bench.png")
    print(markdown(report))


def _plot(report: dict[str, Any], path: Path) -> None:
    rows = report["results"]
    figure = Figure(figsize=(9, 0.5 * len(rows) + 1.5), layout="constrained")
    axes = figure.add_subplot()
    names = [f"{row['title']}, {row['connections']} conn." for row in rows]
    shares = [100 * row["rate"] / row["bare_rate"] for row in rows]
    bars = axes.barh(names, shares, color="#0072b2")
    axes.axvline(100, color="#d55e00", linestyle="--", label="bare loop")
    axes.bar_label(
        bars,
        [f"{row['rate']:,.0f} {row['unit']}/s" for row in rows],
        padding=4,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )
    axes.set_xlim(0, max(140.0, 1.4 * max(shares)))
    axes.invert_yaxis()
    axes.set_xlabel("throughput over HTTP, % of the bare loop on the same core")
    axes.set_title("Served against bare")
    axes.legend(loc="upper right")
    figure.savefig(path, dpi=120)
