"""Processor time and what it is taken to have cost."""

from __future__ import annotations

import time

import msgspec
import pytest

from tests.training.candidates import make_manifest
from training.energy import WATTS_PER_CORE, Stopwatch, cpu_seconds, describe_energy


def test_a_resumed_fit_counts_all_of_its_sittings() -> None:
    assert cpu_seconds(100.0, "CPU, 2 thread(s)", 1.5) == 150.0
    assert cpu_seconds(100.0, "CPU, 2 thread(s) in each of 3 processes", 1.5, processes=3) == 450.0


def test_what_was_not_watched_counts_its_threads() -> None:
    assert cpu_seconds(100.0, "Some CPU @ 2.0 GHz, 2 thread(s)", None) == 200.0
    assert cpu_seconds(100.0, "Some accelerator", None) == 100.0


def test_the_stopwatch_tells_work_from_waiting() -> None:
    watch = Stopwatch()
    assert watch.busy_cores() is None
    time.sleep(0.15)
    waiting = watch.busy_cores()
    assert waiting is not None
    assert waiting < 0.5


def test_the_estimate_says_what_it_assumes() -> None:
    training = make_manifest().training
    assert describe_energy(training) is None
    line = describe_energy(msgspec.structs.replace(training, cpu_s=7200.0))
    assert line is not None
    assert line.startswith(f"about {2 * WATTS_PER_CORE:g} Wh: 2 core-hours")
    assert "assumed" in line


@pytest.mark.parametrize("hardware", ["CPU, 4 thread(s)"])
def test_no_time_at_all_costs_nothing(hardware: str) -> None:
    assert cpu_seconds(0.0, hardware, None) == 0.0
