"""What the load generator is asked for, and what it tells."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LOST, UNANSWERED, LEFT, CUT_SHORT = -1, -2, -3, -4
"""In place of a status: connection refused or broken; no answer in time; the client left, as it was
told to; a stream without its last event."""


@dataclass(frozen=True)
class Order:
    """What to send, and when.

    Args:
        host, port: where to.
        due_s: intended send times from the start, rising.
        kind: for each request which of the following.
        requests: for each kind the bytes on the wire, sent in turn.
        abandon_s: for each kind after how long the client leaves; 0: it stays.
        connections: most at a time; a request that finds none free waits for one.
        grace_s: how long after the last send time answers are waited for.
        cores: where to run; empty: anywhere.

    """

    host: str
    port: int
    due_s: NDArray[np.float64]
    kind: NDArray[np.int64]
    requests: list[list[bytes]]
    abandon_s: list[float]
    connections: int = 2048
    grace_s: float = 30.0
    cores: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Record:
    """What came of each request. Times are seconds from the start; NaN where there is none."""

    due_s: NDArray[np.float64]
    kind: NDArray[np.int64]
    taken_s: NDArray[np.float64]
    """When the generator took it up: later than due, the generator was late."""
    sent_s: NDArray[np.float64]
    first_s: NDArray[np.float64]
    """The first event of a stream."""
    last_s: NDArray[np.float64]
    status: NDArray[np.int64]
    retry_after: NDArray[np.bool_]
    elapsed_s: float
    cpu_s: float


def generate(order: Order) -> Record:
    """Run the generator in a process of its own, on the cores that the order names."""
    cores = order.cores or frozenset(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        asked, told = Path(folder, "order"), Path(folder, "record")
        asked.write_bytes(pickle.dumps(order))
        subprocess.run(
            [sys.executable, "-m", "tests.bench.load.generator", asked, told],
            check=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),  # no threads yet
        )
        record: Record = pickle.loads(told.read_bytes())
    return record
