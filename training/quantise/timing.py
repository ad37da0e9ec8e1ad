"""How fast graphs are, against each other: by turns in one run, on one thread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

from service.session import Session

_ROUNDS = 15
_ROUND_S = 0.02
"""A round of one graph: long beside the clock's steps."""
K = TypeVar("K")


def rows_per_s(
    graphs: Mapping[K, Path], inputs: Mapping[str, NDArray[Any]], *, rounds: int = _ROUNDS
) -> dict[K, float]:
    """Rows each graph computes a second: the median of rounds in which all take turns.

    Inputs and outputs stay in their places, as in the service's steps: Python is not timed.

    The clock counts this thread's work alone, so what else runs on the machine costs caches, but no
    time; and it costs all graphs the same.

    Args:
        graphs: what to time.
        inputs: one batch; its first axis is the rows.
        rounds: turns of each.

    """
    rows = len(next(iter(inputs.values())))
    taken_s = seconds({key: (graph, inputs) for key, graph in graphs.items()}, rounds=rounds)
    return {key: rows / found for key, found in taken_s.items()}


def seconds(
    graphs: Mapping[K, tuple[Path, Mapping[str, NDArray[Any]]]], *, rounds: int = _ROUNDS
) -> dict[K, float]:
    """Seconds of each graph's run on its own inputs, measured as by `rows_per_s`."""
    steps: dict[K, Callable[[], None]] = {}
    for key, (graph, inputs) in graphs.items():
        session = Session(graph)
        steps[key] = session.bind(inputs, session.run(inputs))
    runs = {key: max(1, round(_ROUND_S / _time(step, 3))) for key, step in steps.items()}
    taken_s: dict[K, list[float]] = {key: [] for key in steps}
    for _ in range(rounds):
        for key, step in steps.items():
            taken_s[key].append(_time(step, runs[key]))
    return {key: statistics.median(found) for key, found in taken_s.items()}


def _time(step: Callable[[], None], runs: int) -> float:
    """Seconds of a run, after one that brings the graph back into the caches."""
    step()
    start_s = time.thread_time()
    for _ in range(runs):
        step()
    return max((time.thread_time() - start_s) / runs, 1e-9)
