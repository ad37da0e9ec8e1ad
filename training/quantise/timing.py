"""How fast graphs are, against each other: by turns in one run, on one thread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
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

    The clock counts this thread's work alone, so what else runs on the machine costs caches, but no
    time; and it costs all graphs the same.

    Args:
        graphs: what to time.
        inputs: one batch; its first axis is the rows.
        rounds: turns of each.

    """
    rows = len(next(iter(inputs.values())))
    sessions = {key: Session(graph) for key, graph in graphs.items()}
    runs = {key: max(1, round(_ROUND_S / _time(it, inputs, 3))) for key, it in sessions.items()}
    taken_s: dict[K, list[float]] = {key: [] for key in sessions}
    for _ in range(rounds):
        for key, session in sessions.items():
            taken_s[key].append(_time(session, inputs, runs[key]))
    return {key: rows / statistics.median(found) for key, found in taken_s.items()}


def _time(session: Session, inputs: Mapping[str, NDArray[Any]], runs: int) -> float:
    """Seconds of a run, after one that brings the graph back into the caches."""
    session.run(inputs)
    start_s = time.thread_time()
    for _ in range(runs):
        session.run(inputs)
    return max((time.thread_time() - start_s) / runs, 1e-9)
