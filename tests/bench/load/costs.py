"""What a batch costs: seconds = a + b x rows, fitted by least squares.

Measured in the session that serves, on one thread, at rising batch sizes. Against it stands what a
service says of itself under load: from its metrics the mean rows of a run and its mean time. For a
cost that is linear in the rows, the mean time is that of the mean rows, whatever the mixture.

A process of its own, to be pinned: `python -m tests.bench.load.costs` reads what to do as JSON from
standard input and writes rows and seconds of each run.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from service.invariance import random_arrays
from service.session import Session
from service.store import Store

ROWS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)
ROUNDS = 15


@dataclass(frozen=True)
class Line:
    """seconds = a_s + b_s x rows, with the mean squared error of the points it was fitted to."""

    a_s: float
    b_s: float
    mse_s2: float
    r2: float
    points: int

    def at(self, rows: float) -> float:
        """Seconds of a run of so many rows."""
        return self.a_s + self.b_s * rows


def fit_line(rows: Sequence[float], seconds: Sequence[float]) -> Line:
    """Ordinary least squares.

    Raises:
        ValueError: fewer than two different numbers of rows: no line is better than another.

    """
    x, y = np.asarray(rows, dtype=float), np.asarray(seconds, dtype=float)
    if len(np.unique(x)) < 2:
        raise ValueError("a line needs runs of at least two different sizes")
    b_s = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    a_s = float(y.mean() - b_s * x.mean())
    squared = (y - a_s - b_s * x) ** 2
    spread = float(((y - y.mean()) ** 2).sum())
    r2 = 1 - float(squared.sum()) / spread if spread else 1.0
    return Line(a_s, b_s, float(squared.mean()), r2, len(x))


def measure_runs(
    store: Path, name: str, rows: Sequence[int], rounds: int
) -> dict[str, list[float]]:
    """Run the served graph of a model at each size, `rounds` times, the sizes in turn.

    Returns rows and seconds of each run. The clock is the thread's own, which does the run's work:
    what else the machine does is not in it.
    """
    opened = Store(store)
    version = opened.current(name)
    manifest = opened.verified(name, version)
    session = Session(opened.folder(name, version) / manifest.served.graph)
    high = {spec.name: int(spec.maximum) + 1 for spec in manifest.inputs if spec.maximum and
            spec.dtype == "int64"}  # fmt: skip
    free = {axis for _, shape in session.inputs.values() for axis in shape if axis != "N"}
    feeds = {}
    for count in rows:
        axes = {**{axis: 1 for axis in free if isinstance(axis, str)}, "N": count}
        feeds[count] = random_arrays(session.inputs, axes, np.random.default_rng(0), high)
        session.run(feeds[count])
    found: dict[str, list[float]] = {"rows": [], "seconds": []}
    for _ in range(rounds):
        for count in rows:
            start_s = time.thread_time()
            session.run(feeds[count])
            found["seconds"].append(time.thread_time() - start_s)
            found["rows"].append(count)
    return found


def cost_of(
    model: dict[str, Any], runs: dict[str, list[float]], seen: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """A model's section of the report: its line, the runs, and what the service said under load.

    Args:
        model: name, kind and precision.
        runs: as `measure_runs` returns; empty: fit the line to what was seen instead.
        seen: of each step the model's mean rows and mean seconds of a run, and which step it was.

    Raises:
        ValueError: as `fit_line`.

    """
    source = "session" if runs else "service"
    if not runs:
        runs = {"rows": [one["rows"] for one in seen], "seconds": [one["seconds"] for one in seen]}
    line = fit_line(runs["rows"], runs["seconds"])
    return {
        **model,
        "source": source,
        "a_ms": 1000 * line.a_s,
        "b_ms": 1000 * line.b_s,
        "mse_ms2": 1e6 * line.mse_s2,
        "r2": line.r2,
        "runs": runs,
        "seen": [
            {**one, "ratio": one["seconds"] / line.at(one["rows"])}
            for one in seen
            if line.at(one["rows"]) > 0
        ],
    }


def main() -> None:
    """Measure what standard input asks for."""
    asked = json.loads(sys.stdin.buffer.readline())
    found = measure_runs(Path(asked["store"]), asked["name"], asked["rows"], asked["rounds"])
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
