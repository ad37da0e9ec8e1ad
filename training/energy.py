"""What a fit cost: processor time, measured, and energy, estimated from it."""

from __future__ import annotations

import re
import time

from service.contract import TrainingRecord

WATTS_PER_CORE = 10.0
"""Assumed, not measured: server processors are designed for 4 to 15 watts a core."""


class Stopwatch:
    """Processor time against time on the wall, from now on."""

    def __init__(self) -> None:
        self._cpu_s, self._wall_s = time.process_time(), time.monotonic()

    def busy_cores(self) -> float | None:
        """Cores that this process kept busy, on average; None where hardly any time passed."""
        wall_s = time.monotonic() - self._wall_s
        return (time.process_time() - self._cpu_s) / wall_s if wall_s > 0.1 else None


def cpu_seconds(
    duration_s: float, hardware: str, busy_cores: float | None, *, processes: int = 1
) -> float:
    """Processor-seconds of a fit that took `duration_s` in all of its sittings.

    `busy_cores` is of the last sitting, in each process. Where it was not watched, the threads
    that `hardware` names count as busy all the time.
    """
    if busy_cores is None:
        found = re.search(r"(\d+) thread", hardware)
        busy_cores = float(found[1]) if found else 1.0
    return round(duration_s * busy_cores * processes, 1)


def describe_energy(training: TrainingRecord) -> str | None:
    """A line for the card; None for a record from before processor time was kept."""
    if training.cpu_s is None:
        return None
    hours = training.cpu_s / 3600
    return (
        f"about {hours * WATTS_PER_CORE:.2g} Wh: {hours:.2g} core-hours at an assumed "
        f"{WATTS_PER_CORE:g} W a core; memory, cooling and accelerators are not counted"
    )
