"""How many rows a run should have: measured at load, for this graph on this machine.

On one thread a convolution takes as long for each of 64 rows as for one row alone, a small matrix
product a fraction of that. A larger batch than pays makes others wait, and holds memory, for
nothing; so batches grow only while a row gets cheaper by it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

import numpy as np

from service.invariance import random_arrays
from service.session import Session

_LEAST_ROWS = 8
_WORTH_S = 0.016
"""Runs this long make what surrounds each of them (a tenth of a millisecond) small beside it."""
_GAIN = 0.85
"""A row that takes more than this share of the time it took before was not worth the doubling.
Caches that others disturb make less of a difference."""
_turn = threading.Lock()
"""Models are loaded side by side, but measured one after the other."""


def choose_batch_rows(
    session: Session,
    high: Mapping[str, int],
    limit: int,
    *,
    clock: Callable[[], float] = time.thread_time,
) -> int:
    """The batch size, at most `limit`, beyond which a row gets no cheaper.

    Args:
        session: the graph.
        high: exclusive bounds of integer inputs.
        limit: most rows.
        clock: seconds; this thread's work by default, for a graph that runs on it: models are
            loaded side by side, and what the others take must not count.

    """
    with _turn:
        rows = min(_LEAST_ROWS, limit)
        elapsed_s = _time(session, high, rows, clock)
        while rows < limit:
            more = min(2 * rows, limit)
            more_s = _time(session, high, more, clock)
            if elapsed_s >= _WORTH_S and more_s / more > _GAIN * elapsed_s / rows:
                break
            rows, elapsed_s = more, more_s
        return rows


def _time(
    session: Session, high: Mapping[str, int], rows: int, clock: Callable[[], float]
) -> float:
    """Seconds of the faster of two runs; the first one also pays for its memory."""
    free = {axis for _, shape in session.inputs.values() for axis in shape if axis != "N"}
    axes = {**{axis: 1 for axis in free if isinstance(axis, str)}, "N": rows}
    inputs = random_arrays(session.inputs, axes, np.random.default_rng(0), high)
    taken_s = []
    for _ in range(2):
        start_s = clock()
        session.run(inputs)
        taken_s.append(clock() - start_s)
    return min(taken_s)
