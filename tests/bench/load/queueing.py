"""A queue served in batches, simulated: what waiting the cost of a batch lets one expect.

One server takes whatever waits, `max_rows` at most, and is busy for a + (b + c) x rows: the queue
M/D/1 with bulk service (Bailey 1954), where a and b are the batch's cost and c is what a request
costs beside its run (reading, decoding, answering) on the same core. It has no closed form for a
quantile that is worth having; arrivals are played through it instead.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def waits(
    arrival_s: Sequence[float] | NDArray[np.float64],
    *,
    a_s: float,
    row_s: float,
    max_rows: int,
) -> NDArray[np.float64]:
    """Seconds from each arrival to its answer.

    Args:
        arrival_s: rising.
        a_s: of a batch, whatever its rows.
        row_s: more for each row, with what its request costs beside the run.
        max_rows: most rows in a batch.

    """
    arrived = np.asarray(arrival_s, dtype=float).tolist()  # one at a time, a list is quicker
    latency_s = np.empty(len(arrived))
    free_s, first = 0.0, 0
    while first < len(arrived):
        start_s = max(free_s, arrived[first])
        last = bisect_right(arrived, start_s, first, min(first + max_rows, len(arrived)))
        free_s = start_s + a_s + row_s * (last - first)
        for number in range(first, last):
            latency_s[number] = free_s - arrived[number]
        first = last
    return latency_s


def beside_run_s(most_rate: float, *, a_s: float, b_s: float, max_rows: int) -> float:
    """What a request costs beside its run, from the most that was answered per second, when
    batches are full; 0 if that is more than the line allows.
    """
    return max(0.0, 1 / most_rate - a_s / max_rows - b_s)
