"""The capacity report: JSON for machines, Markdown and HTML for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.load.advice import UTILISATION, advise
from tests.bench.load.charts import curves_png, draw_cost, draw_curve, figure, svg
from tests.bench.load.page import Page, markdown_table
from tests.bench.report import quiet

Report = Mapping[str, Any]
Table = tuple[Sequence[str], list[list[object]]]
RATES = (100, 500, 2000)
"""Requests per second for which the report gives advice."""


def highest(report: Report) -> Table:
    """The highest rates within the objectives."""
    head = ("endpoint", "objective, p99", "highest rate, requests/s", "p99 there",
            "most good answers/s")  # fmt: skip
    rows: list[list[object]] = []
    for one in report["endpoints"]:
        objectives = [f"{_of(one, name)}{value:g} ms" for name, value in
                      one["objectives_ms"].items()]  # fmt: skip
        measured = [f"{_of(one, name)}{value:.1f} ms" for name, value in one["p99_ms"].items()]
        rate = f"{one['highest']:,.1f}" if one["highest"] else "none"
        if one["bound"] != "objective":
            rate += f" (or more: {one['bound']})"
        rows.append([one["title"], ", ".join(objectives), rate, ", ".join(measured) or "",
                     f"{one['most_goodput']:,.1f}"])  # fmt: skip
    return head, rows


def _of(endpoint: Report, name: str) -> str:
    return f"{name} " if len(endpoint["objectives_ms"]) > 1 else ""


def points(report: Report) -> Table:
    """Every step of every endpoint."""
    head = ("endpoint", "rate", "good/s", "p50 ms", "p90 ms", "p99 ms", "max ms", "429", "other",
            "lost", "generator late, p99 ms", "generator's core", "objective met")  # fmt: skip
    rows: list[list[object]] = []
    for endpoint in report["endpoints"]:
        for point in endpoint["points"]:
            figures = [_figure(_worst(point, key)) for key in ("p50_ms", "p90_ms", "p99_ms",
                                                                "max_ms")]  # fmt: skip
            rows.append(
                [endpoint["title"], f"{point['rate']:,.1f}", f"{point['goodput']:,.1f}", *figures,
                 point["refused"], point["other"], point["lost"],
                 f"{point['generator_late_ms']:.2f}", f"{point['generator_cores']:.0%}",
                 "void" if point["void"] else point["objective_met"]]
            )  # fmt: skip
    return head, rows


def _worst(point: Report, key: str) -> float | None:
    """Of the parts' values the largest."""
    values = [part[key] for part in point["parts"].values() if part[key] is not None]
    return max(values, default=None)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}"


def costs(report: Report) -> Table:
    """The lines."""
    head = ("model", "a, ms", "b, ms a row", "mean squared error, ms²", "R²", "runs fitted",
            "under load against the line")  # fmt: skip
    rows: list[list[object]] = []
    for one in report["costs"]:
        ratios = sorted(seen["ratio"] for seen in one["seen"]) if one["source"] == "session" else []
        beside = (
            f"{ratios[len(ratios) // 2]:.2f} x (median of {len(ratios)} steps)" if ratios else ""
        )
        rows.append([f"{one['model']} ({one['precision']})", f"{one['a_ms']:.4f}",
                     f"{one['b_ms']:.4f}", f"{one['mse_ms2']:.3g}", f"{one['r2']:.4f}",
                     len(one["runs"]["rows"]), beside])  # fmt: skip
    return head, rows


def queueing(one: Report) -> Table:
    """A measured curve beside the simulated queue."""
    head = ("rate", "p50 measured, ms", "p50 simulated, ms", "p99 measured, ms",
            "p99 simulated, ms")  # fmt: skip
    keys = ("measured_p50_ms", "simulated_p50_ms", "measured_p99_ms", "simulated_p99_ms")
    rows: list[list[object]] = [
        [f"{row['rate']:,.1f}", *(_figure(row[key]) for key in keys)] for row in one["rows"]
    ]
    return head, rows


def overload(beyond: Report) -> Table:
    """Verdicts at twice the sustainable rate."""
    head = ("endpoint", "offered/s", "what", "limit", "measured", "reached")
    rows: list[list[object]] = [
        [step["endpoint"], f"{step['rate']:,.1f}", verdict["what"], verdict["limit"],
         verdict["measured"], verdict["reached"]]
        for step in beyond["steps"] for verdict in step["verdicts"]
    ]  # fmt: skip
    return head, rows


def advice(report: Report) -> Table:
    """Replicas for some rates."""
    head = ("endpoint", *(f"{rate:,}/s" for rate in RATES))
    rows: list[list[object]] = [
        [one["title"], *(advise(rate, one["highest"]).replicas for rate in RATES)]
        for one in report["endpoints"] if one["highest"]
    ]  # fmt: skip
    return head, rows


_METHOD = (
    "An open loop: requests are due at fixed times, whatever the service does, and latency counts "
    "from then. The highest rate is the one at which every request was answered and p99 stayed "
    "within the objective, {repeats} times in a row, in steps of {step_s:g} s."
)
_COST = (
    "Time of a run = a + b x rows, by ordinary least squares. Crosses are what the service's own "
    "metrics say under load: mean time against mean rows of its runs."
)
_OVERLOAD = (
    "Each endpoint alone at twice its highest rate, in turns with the rate at which most was "
    "answered, on the same machine: goodput is the mean of the rounds beside the mean of those, "
    "latencies are those of the worst round. What is accepted may take as long as the queue's "
    "limit ({limit_s:g} s) and the objective."
)
_ADVICE = (
    f"Replicas of one core = ceil(rate / ({UTILISATION:g} x highest rate)): three tenths of each "
    "are left for bursts, for a replica that fails, and for a rollout. For another rate, objective "
    "or head-room: python -m tests.bench.load advise."
)
_QUEUE = (
    "The same load played through a queue that is served in batches (M/D/1, or D/D/1, with bulk "
    "service; by simulation): a batch takes a + (b + c) x rows, where c = {beside_ms:.3f} ms is "
    "what a request costs beside its run, from the most answered per second; at most {max_rows} "
    "rows."
)


def shares(report: Report) -> str:
    """What the mix is made of; empty if none was measured."""
    for one in report["endpoints"]:
        if len(one["shares"]) > 1:
            told = ", ".join(f"{share:.0%} {name}" for name, share in one["shares"].items())
            return f"The mix: {told}; each part has its own objective."
    return ""


def where(report: Report) -> str:
    """What was measured, on what, and when."""
    models = ", ".join(f"{one['id']} {one['version']} ({one['precision']})" for one in
                       report["models"])  # fmt: skip
    machine = report["machine"]
    points = [point for one in report.get("endpoints", ()) for point in one["points"]]
    others = [point["other_cores"] for point in points if "other_cores" in point]
    state = f"{quiet(others)} " if others else ""
    return (
        f"Models: {models}. {state}Service: {report['service']}. Generator and report: "
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory']}, "
        f"{machine['system']}, Python {machine['python']}, onnxruntime {machine['onnxruntime']}, "
        f"BentoML {machine['bentoml']}, {machine['date']}."
    )


def _overload(beyond: Report) -> str:
    return _OVERLOAD.format(limit_s=beyond["settings"]["max_queue_ms"] / 1000)


def brief(report: Report) -> str:
    """What the README says: the highest rates, and whether an overload is stood."""
    parts = [markdown_table(*highest(report))]
    for beyond in report["overload"]:
        verdicts = [verdict for step in beyond["steps"] for verdict in step["verdicts"]]
        measured = [one["reached"] for one in verdicts if one["reached"] is not None]
        parts.append(
            f"At twice those rates ({beyond['title']}): {sum(measured)} of {len(measured)} "
            "promises kept (goodput, refusals, latency of what is accepted)."
        )
    parts.append(where(report))
    return "\n\n".join(parts)


def markdown(report: Report) -> str:
    """The whole report."""
    method = " ".join((_METHOD.format(**report), shares(report))).strip()
    parts = ["# How much it takes", method, markdown_table(*highest(report)), where(report)]
    if advice(report)[1]:
        parts += ["## Replicas", _ADVICE, markdown_table(*advice(report))]
    if report["costs"]:
        parts += ["## What a batch costs", _COST, markdown_table(*costs(report))]
    for one in report["queueing"]:
        parts += [f"## Queueing: {one['endpoint']}", _QUEUE.format(**one),
                  markdown_table(*queueing(one))]  # fmt: skip
    for beyond in report["overload"]:
        parts += [f"## Twice the sustainable rate, {beyond['title']}", _overload(beyond),
                  markdown_table(*overload(beyond))]  # fmt: skip
    parts += ["## Every step", markdown_table(*points(report))]
    return "\n\n".join(parts) + "\n"


def page(report: Report) -> str:
    """The report as HTML, with its curves."""
    made = Page("How much it takes")
    made.text(" ".join((_METHOD.format(**report), shares(report))).strip())
    made.table(*highest(report))
    made.text(where(report), where=True)
    made.heading("Latency against throughput")
    made.charts({one["title"]: _drawn(draw_curve, one) for one in report["endpoints"]})
    if advice(report)[1]:
        made.heading("Replicas")
        made.text(_ADVICE)
        made.table(*advice(report))
    if report["costs"]:
        made.heading("What a batch costs")
        made.text(_COST)
        made.table(*costs(report))
        made.charts({one["model"]: _drawn(draw_cost, one) for one in report["costs"]})
    for one in report["queueing"]:
        made.heading(f"Queueing: {one['endpoint']}")
        made.text(_QUEUE.format(**one))
        made.table(*queueing(one))
    for beyond in report["overload"]:
        made.heading(f"Twice the sustainable rate, {beyond['title']}")
        made.text(_overload(beyond))
        made.table(*overload(beyond))
    made.heading("Every step")
    made.table(*points(report))
    return made.render(report)


def _drawn(draw: Any, one: Report) -> str:
    made, axes = figure()
    draw(axes, one)
    return svg(made)


def write(report: Report, folder: Path, name: str) -> None:
    """Write `name`.json, .md, .html and .png; print the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    text = markdown(report)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    (folder / f"{name}.html").write_text(page(report), encoding="utf-8")
    curves_png(report["endpoints"], folder / f"{name}.png")
    print(text)
