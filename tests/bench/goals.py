"""What the service promises of its speed, as verdicts over a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

Report = dict[str, Any]


@dataclass(frozen=True)
class Goal:
    """A figure and its bound: `measured` must be at least, or at most, `limit`."""

    title: str
    sense: Literal["at least", "at most"]
    limit: float
    form: str
    """How figures are shown: a format string."""
    figure: Callable[[Report], float]
    """Reads the figure; KeyError where the report has not measured it."""


@dataclass(frozen=True)
class Verdict:
    """A goal held against a report. `reached` is None where it was not measured."""

    goal: str
    limit: str
    measured: str
    reached: bool | None


def _result(report: Report, key: str) -> dict[str, Any]:
    for result in report["results"]:
        if result["key"] == key:
            if "error" in result:
                raise KeyError(result["error"])
            return dict(result)
    raise KeyError("not measured")


def _of(key: str, name: str) -> Callable[[Report], float]:
    return lambda report: float(_result(report, key)[name])


def _section(section: str, name: str) -> Callable[[Report], float]:
    def figure(report: Report) -> float:
        if section not in report:
            raise KeyError("not measured")
        if "error" in report[section]:
            raise KeyError(report[section]["error"])
        return float(report[section][name])

    return figure


def _tail(report: Report) -> float:
    one = _result(report, "classify@1")
    return float(one["p99_ms"] / one["p50_ms"])


def _flatness(report: Report) -> float:
    costs = [
        _result(report, f"classify@{connections}")["cpu_s_per_1000"]
        for connections in (16, 64, 256, 1000)
    ]
    return float(max(costs) / min(costs) - 1)


def _per_worker(report: Report) -> float:
    if _section("service", "models")(report) != 3:
        raise KeyError("needs a store of three models")
    return _section("service", "worker_pss_mib")(report)


GOALS = (
    Goal("classify, 64 connections: CPU against the bare loop", "at most", 1.4, "{:.2f} x",
         _of("classify@64", "cpu_ratio")),
    Goal("classify, 1 connection: p99 against the median", "at most", 3, "{:.2f} x", _tail),
    *(Goal(f"infer, tensors of 64 images, {n} connection{'s' * (n > 1)}: share of the bare loop",
           "at least", 0.95, "{:.1%}", _of(f"tensors@{n}", "share")) for n in (1, 4)),
    Goal("completions, 32 streams: characters/s against the bare loop", "at least", 0.9, "{:.1%}",
         _of("stream@32", "share")),
    Goal("completions, one stream: characters/s against the bare loop", "at least", 0.85,
         "{:.1%}", _of("stream@1", "share")),
    Goal("first character of a new stream beside 31, median", "at most", 2, "{:.2f} steps",
         _section("newcomers", "median_steps")),
    Goal("first character of a new stream beside 31, p99", "at most", 2, "{:.2f} steps",
         _section("newcomers", "p99_steps")),
    *(Goal(f"infer, 16 pictures as tensors, {n} connection{'s' * (n > 1)}: share of the bare loop",
           "at least", 0.9, "{:.1%}", _of(f"draw@{n}", "share")) for n in (1, 4)),
    *(Goal(f"sample, 16 pictures as PNG, {n} connection{'s' * (n > 1)}: share of the bare loop",
           "at least", 0.9, "{:.1%}", _of(f"sheet@{n}", "share")) for n in (1, 4)),
    Goal("classify, 16 to 1,000 connections: growth of CPU a request", "at most", 0.1, "{:.1%}",
         _flatness),
    Goal("memory of a worker with all three models after every load (PSS)", "at most", 220,
         "{:.0f} MiB", _per_worker),
    Goal("ready after its start", "at most", 3, "{:.2f} s", _section("service", "ready_s")),
    Goal("two workers on two cores: growth of CPU a request", "at most", 0.1, "{:.1%}",
         _section("workers", "cost_growth")),
    Goal("two workers on two cores: rate against one's, the client's share taken out", "at least",
         1.7, "{:.2f} x", _section("workers", "scaling")),
)  # fmt: skip


def judge(report: Report) -> Iterator[Verdict]:
    """Every goal held against the report."""
    for goal in GOALS:
        limit = f"{goal.sense} {goal.form.format(goal.limit)}"
        try:
            figure = goal.figure(report)
        except KeyError as reason:
            short = str(reason.args[0]).splitlines()[0][:80]
            yield Verdict(goal.title, limit, short, None)
            continue
        reached = figure >= goal.limit if goal.sense == "at least" else figure <= goal.limit
        yield Verdict(goal.title, limit, goal.form.format(figure), reached)
