"""The bench's report: JSON for machines, Markdown and a plot for people."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.plot import plot

PROFILE = "bench-profile.md"
"""What `python -m tests.bench.profile` found, beside the report."""
BUSY_CLIENT = 0.6
"""A client that uses more of its core than this may bound what it measures."""
BUSY_MACHINE = 0.1
"""Cores that other programs took; above this, figures are too low."""


def markdown(report: dict[str, Any], folder: Path = Path("docs")) -> str:
    """The report as tables, with where and how it was measured."""
    parts = [_goals(report), _results(report), _rest(report), _method(report)]
    profile = folder / PROFILE
    if profile.exists():
        parts.insert(2, "**What the rest costs.** " + profile.read_text(encoding="utf-8").strip())
    return "\n\n".join(parts)


def _goals(report: dict[str, Any]) -> str:
    words = {True: "yes", False: "**no**", None: "not measured"}
    lines = ["| goal | limit | measured | reached |", "| --- | ---: | ---: | --- |"]
    lines += [
        f"| {row['goal']} | {row['limit']} | {row['measured']} | {words[row['reached']]} |"
        for row in report["goals"]
    ]
    return "\n".join(lines)


def _results(report: dict[str, Any]) -> str:
    lines = [
        "| load | connections | per second | p50 ms | p99 ms | p99.9 ms | CPU-s per 1,000 "
        "| bare loop per second | share of it | CPU against it | server's core | client's core |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in report["results"]:
        if "error" in row:
            reason = row["error"].splitlines()[0][:80]
            lines.append(
                f"| {row['title']} | {row['connections']:,} | not measured: {reason} |{' |' * 9}"
            )
            continue
        rates = [f"{one['rate']:,.0f}" for one in row["bare"].values()]
        shares = [f"{share:.0%}" for share in row["shares"].values()]
        lines.append(
            f"| {row['title']} | {row['connections']:,} | {row['rate']:,.0f} {row['unit']} "
            f"| {row['p50_ms']:.1f} | {row['p99_ms']:.1f} | {row['p999_ms']:.1f} "
            f"| {row['cpu_s_per_1000']:.3f} | {_beside(rates)} | {_beside(shares)} "
            f"| {row['cpu_ratio']:.2f} x | {row['server_cores']:.0%} | {row['client_cores']:.0%} |"
        )
    return "\n".join(lines)


def _beside(figures: list[str]) -> str:
    """The limit, and other bare loops in parentheses."""
    first, *others = figures
    return f"{first} ({', '.join(others)})" if others else first


def _rest(report: dict[str, Any]) -> str:
    lines = []
    if service := report.get("service"):
        lines.append(
            f"A worker with {service['models']} model{'s' * (service['models'] != 1)} holds "
            f"{service['fresh_pss_mib']:.0f} MiB (PSS) when it is ready, "
            f"{service['worker_pss_mib']:.0f} MiB after every load, all processes together "
            f"{service['tree_pss_mib']:.0f} MiB; the service is ready {service['ready_s']:.2f} s "
            f"after its start (median of {service['starts']} starts)."
        )
    newcomers = report.get("newcomers", {})
    if "step_ms" in newcomers:
        lines.append(
            f"Beside {newcomers['streams']} running streams, a step takes "
            f"{newcomers['step_ms']:.2f} ms; {newcomers['newcomers']:,} newcomers waited "
            f"{newcomers['median_steps']:.2f} steps for their first character (median), "
            f"{newcomers['p99_steps']:.2f} at p99. With nothing else running, the same request's "
            f"first character takes {newcomers['alone_ms']:.2f} ms."
        )
    workers = report.get("workers", {})
    if "by_workers" in workers:
        one, two = workers["by_workers"]
        lines.append(
            f"One worker on one core answers {one['rate']:,.0f} images/s "
            f"({one['cpu_s_per_1000']:.3f} CPU-s per 1,000), two workers on both cores, which "
            f"they share with the client, {two['rate']:,.0f} ({two['cpu_s_per_1000']:.3f}) on "
            f"{two['server_cores']:.2f} cores: {workers['plain_scaling']:.2f} times as many, "
            f"{workers['scaling']:.2f} times with the client's {two['client_cores']:.0%} of a "
            "core taken out."
        )
    busy = [
        f"{row['title']} at {row['connections']}"
        for row in report["results"]
        if row.get("client_cores", 0) > BUSY_CLIENT
    ]
    if busy:
        lines.append(
            f"The client used more than {BUSY_CLIENT:.0%} of its core in: {', '.join(busy)}."
        )
    return "\n\n".join(lines)


def quiet(other_cores: list[float]) -> str:
    """Whether the machine had anything else to do."""
    usual, most = median(other_cores or [0.0]), max(other_cores, default=0.0)
    state = "not quiet" if most > BUSY_MACHINE else "quiet"
    return (
        f"The machine was {state}: everything else on it took {usual:.2f} cores (median of the "
        f"loads), {most:.2f} at most."
    )


def _others(report: dict[str, Any]) -> list[float]:
    rows = [*report["results"], *report.get("workers", {}).get("by_workers", [])]
    return [row["other_cores"] for row in rows if "error" not in row]


def _method(report: dict[str, Any]) -> str:
    machine = report["machine"]
    return (
        f"Model{'s' * (len(report['models']) != 1)}: {', '.join(report['models'])}. One worker on "
        "one core, the client on another, the bare loop on the server's. The bare loop is Pillow, "
        "onnxruntime with one intra-op thread at the batch of the load (64 images, one row a "
        "stream, 16 pictures) and, for text, a draw from the softmax in numpy (in parentheses: "
        f"the likeliest character). Medians of {report['rounds']} interleaved rounds of "
        f"{report['duration_s']:g} s, shares taken within a round, p99.9 over all rounds; "
        f"CPU-seconds are those of the server's whole process tree. {quiet(_others(report))} "
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory']}, "
        f"{machine['system']}, Python {machine['python']}, onnxruntime {machine['onnxruntime']}, "
        f"BentoML {machine['bentoml']}, {machine['date']}."
    )


def write_report(report: dict[str, Any], folder: Path) -> None:
    """Write bench.json, bench.md and bench.png; print the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    text = markdown(report, folder)
    (folder / "bench.md").write_text(f"# Served against bare\n\n{text}\n", encoding="utf-8")
    plot(report, folder / "bench.png")
    print(text)
