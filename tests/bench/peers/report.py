"""The report of the bench of peers: JSON, Markdown and a plot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tests.bench.report import quiet

_COLUMNS = (
    ("1 conn., req/s", "single@1", "rate", "{:,.0f}"),
    ("16 conn., req/s", "single@16", "rate", "{:,.0f}"),
    ("64 conn., req/s", "single@64", "rate", "{:,.0f}"),
    ("p99 at 64, ms", "single@64", "p99_ms", "{:,.0f}"),
    ("CPU-s per 1,000 at 64", "single@64", "cpu_s_per_1000", "{:.2f}"),
    ("tensors of 64, 1 conn., images/s", "tensor@1", "rate", "{:,.0f}"),
    ("4 conn., images/s", "tensor@4", "rate", "{:,.0f}"),
    ("CPU-s per 1,000 at 4", "tensor@4", "cpu_s_per_1000", "{:.2f}"),
)


def markdown(report: dict[str, Any]) -> str:
    """A table of the servers, and how each was set up."""
    titles = ["server", *(title for title, *_ in _COLUMNS), "memory, MiB"]
    lines = [f"| {' | '.join(titles)} |", f"| --- |{' ---: |' * (len(titles) - 1)}"]
    notes = []
    for peer in report["peers"]:
        if "error" in peer:
            lines.append(f"| {peer['name']} | not measured |{'  |' * (len(titles) - 2)}")
            notes.append(f"- {peer['name']} was not measured: {peer['error']}")
            continue
        cells = [_cell(peer["loads"][key], name, form) for _, key, name, form in _COLUMNS]
        lines.append(f"| {' | '.join([peer['name'], *cells])} | {peer['tree_pss_mib']:,.0f} |")
        notes.append(f"- {peer['version']}: {peer['settings']}.")
        notes += [
            f"- {peer['name']}, {key}: {found['error']}"
            for key, found in peer["loads"].items()
            if "error" in found
        ]
    return "\n".join([*lines, "", *notes, "", _method(report)])


def _cell(found: dict[str, Any], name: str, form: str) -> str:
    return "failed" if "error" in found else form.format(found[name])


def last_line(error: str) -> str:
    """The last line that names an error, else the last: where a traceback ends.

    Paths are those of the repository, whatever folder of whoever's machine it lies in.
    """
    plain = error.replace(f"{Path.cwd()}/", "")
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line]
    return (named or lines or [""])[-1][:200]


def _method(report: dict[str, Any]) -> str:
    machine = report["machine"]
    loads = [
        found
        for peer in report["peers"]
        for found in peer.get("loads", {}).values()
        if "error" not in found
    ]
    busiest = max((found["client_cores"] for found in loads), default=0.0)
    return (
        f"The same graph ({report['model']}), JPEG and tensors for all; each answers with label "
        "and score; one worker, onnxruntime with one intra-op thread, pictures decoded with "
        "Pillow, by triptych with simplejpeg; servers and client share all "
        f"{machine['cores']} cores, one server at a time. "
        f"Medians of {report['rounds']} interleaved rounds of {report['duration_s']:g} s; "
        "CPU-seconds and memory (PSS) are those of the server's whole process tree; the client "
        f"used at most {busiest:.0%} of a core. "
        f"{quiet([found['other_cores'] for found in loads])} {machine['processor']}, "
        f"{machine['system']}, Python {machine['python']}, onnxruntime "
        f"{machine['onnxruntime']}, {machine['date']}."
    )


def write_report(report: dict[str, Any], folder: Path) -> None:
    """Write bench-peers.json, .md and .png; print the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=2) + "\n"
    (folder / "bench-peers.json").write_text(text, encoding="utf-8")
    body = f"# The same work behind other servers\n\n{markdown(report)}\n"
    (folder / "bench-peers.md").write_text(body, encoding="utf-8")
    _plot(report, folder / "bench-peers.png")
    print(markdown(report))


def _plot(report: dict[str, Any], path: Path) -> None:
    """Rate and CPU of single requests at 64 connections."""
    key = "single@64"
    peers = [
        peer for peer in report["peers"] if "error" not in peer.get("loads", {}).get(key, peer)
    ]
    names = [peer["name"] for peer in peers]
    colours = ["#d55e00" if name == "triptych" else "#0072b2" for name in names]
    figure = Figure(figsize=(9, 0.45 * len(peers) + 1.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    shown = (
        ("rate", "{:,.0f}", "requests per second"),
        ("cpu_s_per_1000", "{:.2f}", "CPU-seconds per 1,000"),
    )
    for axes, (name, form, title) in zip(panels, shown, strict=True):
        values = [peer["loads"][key][name] for peer in peers]
        bars = axes.barh(names, values, color=colours)
        axes.bar_label(bars, [form.format(value) for value in values], padding=4)
        axes.set_xlim(0, 1.25 * max(values, default=1.0))
        axes.set_xlabel(title)
    panels[0].invert_yaxis()
    figure.suptitle("One JPEG a request, 64 connections")
    figure.savefig(path, dpi=120)
