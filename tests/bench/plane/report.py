"""The plane's report: JSON, Markdown and a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from tests.bench.plane.front import Point, pareto_front
from tests.bench.plane.published import SOURCE
from tests.bench.report import quiet
from training.plots.drawing import BLUE, GREY, RED, drawing

_SPEEDS = (("rate_at_1", "one image at a time"), ("rate", "the best batch"))
_NAME_SPAN, _NAME_HEIGHT = 2.5, 0.004
"""How far a name reaches to the right of its point, as a factor of speed; and up, in accuracy."""


def row(entrant: Any, timing: Any) -> dict[str, Any]:
    """What the report keeps of an entrant and its timing."""
    best = timing.best_batch
    return {
        "name": entrant.name,
        "ours": entrant.ours,
        "precision": entrant.precision,
        "accuracy": entrant.accuracy.value,
        "accuracy_low": entrant.accuracy.low,
        "accuracy_high": entrant.accuracy.high,
        "test_images": entrant.accuracy.trials,
        "multiply_adds": entrant.multiply_adds,
        "graph_bytes": entrant.graph.stat().st_size,
        "rates": {str(rows): rate for rows, rate in timing.rates.items()},
        "rate_at_1": timing.rates[1],
        "best_batch": best,
        "rate": timing.rates[best],
        "other_cores": timing.other_cores,
    }


def _label(found: dict[str, Any]) -> str:
    return f"{found['name']}, {found['precision']}" if found["ours"] else str(found["name"])


def _points(report: dict[str, Any], speed: str) -> list[Point]:
    return [Point(_label(one), one[speed], one["accuracy"]) for one in report["entrants"]]


def verdicts(report: dict[str, Any]) -> list[str]:
    """For each of ours, in words, which listed models are both faster and more accurate."""
    lines = []
    for index, one in enumerate(report["entrants"]):
        if not one["ours"]:
            continue
        for speed, title in _SPEEDS:
            points = _points(report, speed)
            others = zip(points, report["entrants"], strict=True)
            better = [
                point.name
                for point, other in others
                if not other["ours"] and point.beats(points[index])
            ]
            said = f"{', '.join(better)}." if better else "no listed model."
            lines.append(f"Both faster and more accurate than {_label(one)}, at {title}: {said}")
    return lines


def markdown(report: dict[str, Any]) -> str:
    """The plane as a table, the fastest first, with what it says and how it came about."""
    front = {point.name for point in pareto_front(_points(report, "rate"))}
    lines = [
        "| model | accuracy (95 % interval) | million multiply-adds | images/s, one at a time "
        "| ms an image | images/s, best batch | batch | on the front |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for one in sorted(report["entrants"], key=lambda one: one["rate"], reverse=True):
        name = f"**{_label(one)}**" if one["ours"] else f"{_label(one)} (published)"
        lines.append(
            f"| {name} | {one['accuracy']:.2%} ({one['accuracy_low']:.2%} to "
            f"{one['accuracy_high']:.2%}) | {one['multiply_adds'] / 1e6:,.1f} "
            f"| {one['rate_at_1']:,.0f} | {1000 / one['rate_at_1']:.2f} | {one['rate']:,.0f} "
            f"| {one['best_batch']} | {'yes' if _label(one) in front else ''} |"
        )
    said = [f"- {line}" for line in verdicts(report)]
    return "\n".join([*lines, "", *said, "", _method(report)])


def _method(report: dict[str, Any]) -> str:
    machine = report["machine"]
    ours = sorted({one["test_images"] for one in report["entrants"] if one["ours"]})
    tested = f"{' and '.join(f'{count:,}' for count in ours)} test images" if ours else "no images"
    return (
        f"Published accuracies are those of [their authors]({SOURCE}), on the 10,000 test images "
        f"of CIFAR-10 as uncompressed pixels; ours are on {tested} stored as JPEG of quality 75, "
        "which have lost detail, and were trained on such: the comparison is not in our favour. "
        "The published networks were built here with random weights, checked "
        "against their published numbers of multiply-adds, and written by the exporter that "
        "writes ours, in float32: norms folded, RepVGG's branches folded into one convolution "
        "(nine tenths of the multiply-adds published), pixels in, probabilities out. Each ran in "
        "the session that serves, onnxruntime with one intra-op thread, timed by that thread's own "
        f"clock; medians of {report['rounds']} interleaved rounds of {report['duration_s']:g} s. "
        f"{_quiet(report)} {machine['processor']}, "
        f"{machine['system']}, Python {machine['python']}, onnxruntime "
        f"{machine['onnxruntime']}, {machine['date']}."
    )


def _quiet(report: dict[str, Any]) -> str:
    return quiet([one["other_cores"] for one in report["entrants"]])


def write_report(report: dict[str, Any], folder: Path) -> None:
    """Write plane.json, .md and .png; print the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=2) + "\n"
    (folder / "plane.json").write_text(text, encoding="utf-8")
    body = f"# Accuracy against speed\n\n{markdown(report)}\n"
    (folder / "plane.md").write_text(body, encoding="utf-8")
    _plot(report, folder / "plane.png")
    print(markdown(report))


def _plot(report: dict[str, Any], path: Path) -> None:
    with drawing(path, height_in=4.6, width_in=10.0) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        for axes, (speed, title) in zip(panels, _SPEEDS, strict=True):
            _panel(axes, report, speed)
            axes.set_title(title.capitalize())
            axes.set_xlabel("images per second, one thread")
        panels[0].set_ylabel("test accuracy, % (bars: 95 % interval)")
        panels[1].legend(loc="lower left")
        figure.supxlabel(f"{report['machine']['processor']}. {_quiet(report)}", fontsize=8)


def _named_left(entrants: list[dict[str, Any]], speed: str) -> list[str]:
    """Whose names stand to the left of their points: where, to the right, another point lies or
    another's name would stand that is on its own left.
    """
    left: list[str] = []
    for one in sorted(entrants, key=lambda entrant: -entrant[speed]):
        for other in entrants:
            span = _NAME_SPAN ** (2 if _label(other) in left else 1)
            near = abs(other["accuracy"] - one["accuracy"]) < _NAME_HEIGHT
            if near and 1 < other[speed] / one[speed] < span:
                left.append(_label(one))
                break
    return left


def _panel(axes: Axes, report: dict[str, Any], speed: str) -> None:
    on_the_left = _named_left(report["entrants"], speed)
    for ours, colour, label in ((False, BLUE, "published"), (True, RED, "this repository")):
        shown = [one for one in report["entrants"] if one["ours"] is ours]
        if not shown:
            continue
        axes.errorbar(
            [one[speed] for one in shown],
            [100 * one["accuracy"] for one in shown],
            yerr=[
                [100 * (one["accuracy"] - one["accuracy_low"]) for one in shown],
                [100 * (one["accuracy_high"] - one["accuracy"]) for one in shown],
            ],
            fmt="o", color=colour, elinewidth=1, label=label,
        )  # fmt: skip
        for one in shown:
            left = _label(one) in on_the_left
            # Lower on the left, where the name of the one before may stand.
            axes.annotate(
                _label(one), (one[speed], 100 * one["accuracy"]),
                xytext=(-6, -11) if left else (6, 4),
                ha="right" if left else "left",
                textcoords="offset points", fontsize=8, color=colour,
            )  # fmt: skip
    front = pareto_front(_points(report, speed))
    # Down to the right of each: what lies below and to the left is beaten.
    axes.step(
        [point.rate for point in front],
        [100 * point.accuracy for point in front],
        where="pre", color=GREY, linestyle="--", linewidth=1, label="Pareto front",
    )  # fmt: skip
    axes.set_xscale("log")
    axes.margins(x=0.25)
