"""Images per second of graphs, by turns, in the session that serves.

On the thread's own clock: what other programs take from it does not count, though they still wear
the caches. A session with one intra-op thread computes on the thread that calls it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from service.session import Session
from tests.bench.machine import machine_cpu_s
from training.kinds.cnn import draw_pictures

BATCHES = (1, 8, 32, 64)
"""64 is the most that the service puts together unless told otherwise."""
_WARM_RUNS = 2


@dataclass(frozen=True)
class Timing:
    """A graph's images per second by batch size, medians of the rounds."""

    rates: Mapping[int, float]
    other_cores: float
    """What everything else on the machine took while the graph was timed, in cores."""

    @property
    def best_batch(self) -> int:
        """The batch size of the highest rate."""
        return max(self.rates, key=self.rates.__getitem__)


def time_graphs(
    graphs: Sequence[Path],
    *,
    rounds: int,
    duration_s: float,
    batches: Sequence[int] = BATCHES,
) -> list[Timing]:
    """Time each graph at each batch size for `duration_s`, then all of them again.

    Interleaved, so that a machine that grows warm or busy slows all alike.

    Args:
        graphs: classifiers, `image` uint8 [N, H, W, 3] to `probability`.
        rounds: how often each is timed.
        duration_s: how long a graph runs at a batch size in a round; the run that passes it counts.
        batches: batch sizes.

    """
    sessions = [Session(graph) for graph in graphs]
    rates: list[dict[int, list[float]]] = [{rows: [] for rows in batches} for _ in graphs]
    others: list[list[float]] = [[] for _ in graphs]
    for _ in range(rounds):
        for session, by_batch, busy in zip(sessions, rates, others, strict=True):
            for rows in batches:
                rate, other_cores = _rate(session, rows, duration_s)
                by_batch[rows].append(rate)
                busy.append(other_cores)
    return [
        Timing({rows: median(found) for rows, found in by_batch.items()}, median(busy))
        for by_batch, busy in zip(rates, others, strict=True)
    ]


def _rate(session: Session, rows: int, duration_s: float) -> tuple[float, float]:
    """Images per second of the thread, and the cores that other programs took."""
    size = int(session.inputs["image"][1][1])
    inputs = draw_pictures(size, rows, np.random.default_rng(rows))
    for _ in range(_WARM_RUNS):
        session.run(inputs, ["probability"])
    done, spent_s = 0, 0.0
    machine_s, own_s = machine_cpu_s(), time.process_time()
    start_s, start_thread_s = time.perf_counter(), time.thread_time()
    while spent_s < duration_s:
        session.run(inputs, ["probability"])
        done += rows
        spent_s = time.thread_time() - start_thread_s
    elapsed_s = time.perf_counter() - start_s
    other_s = (machine_cpu_s() - machine_s) - (time.process_time() - own_s)
    return done / spent_s, max(0.0, other_s / elapsed_s)
