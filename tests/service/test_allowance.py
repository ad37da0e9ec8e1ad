"""Rates and quotas, exact also where several processes count together."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import pytest

from service.allowance import Allowances, Limits
from service.errors import QuotaExceededError, RateLimitedError


class Clock:
    """Both clocks, moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 20_000.5 * 86_400  # noon of some day
        monkeypatch.setattr(time, "time", lambda: self.now_s)
        monkeypatch.setattr(time, "monotonic_ns", lambda: round(self.now_s * 1e9))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def taken(allowances: Allowances, key: str, limits: Limits, tries: int) -> int:
    count = 0
    for _ in range(tries):
        try:
            allowances.take(key, limits)
        except RateLimitedError:
            continue
        count += 1
    return count


def test_a_burst_and_then_the_rate(tmp_path: Path, clock: Clock) -> None:
    allowances, limits = Allowances(tmp_path / "usage"), Limits.of(10, 5, None)
    assert taken(allowances, "a", limits, 20) == 5
    with pytest.raises(RateLimitedError, match="10 requests a second") as refused:
        allowances.take("a", limits)
    assert refused.value.retry_after_s == pytest.approx(0.1, abs=0.001)
    clock.now_s += 0.11
    assert taken(allowances, "a", limits, 20) == 1
    clock.now_s += 0.31
    assert taken(allowances, "a", limits, 20) == 3
    clock.now_s += 3600
    assert taken(allowances, "a", limits, 20) == 5, "no more than a burst is saved up"
    assert taken(allowances, "b", limits, 20) == 5, "another key has its own"


def test_without_a_burst_a_seconds_requests_may_come_at_once(tmp_path: Path, clock: Clock) -> None:
    allowances = Allowances(tmp_path / "usage")
    assert taken(allowances, "a", Limits.of(2.5, None, None), 20) == 3
    assert taken(allowances, "b", Limits.of(0.01, None, None), 20) == 1


def test_a_quota_ends_with_its_day(tmp_path: Path, clock: Clock) -> None:
    allowances, limits = Allowances(tmp_path / "usage"), Limits.of(None, None, 3)
    assert taken(allowances, "a", limits, 10) == 3
    with pytest.raises(QuotaExceededError, match="3 requests of this day") as refused:
        allowances.take("a", limits)
    assert refused.value.retry_after_s == pytest.approx(43_200, abs=1)
    clock.now_s += 43_199
    assert taken(allowances, "a", limits, 10) == 0
    clock.now_s += 2
    assert taken(allowances, "a", limits, 10) == 3


def test_what_is_refused_does_not_count(tmp_path: Path, clock: Clock) -> None:
    allowances, limits = Allowances(tmp_path / "usage"), Limits.of(1, 1, 2)
    assert taken(allowances, "a", limits, 10) == 1
    clock.now_s += 1
    assert taken(allowances, "a", limits, 10) == 1
    clock.now_s += 1
    with pytest.raises(QuotaExceededError):
        allowances.take("a", limits)


def test_what_is_used_outlives_a_process(tmp_path: Path, clock: Clock) -> None:
    limits = Limits.of(None, None, 5)
    assert taken(Allowances(tmp_path / "usage"), "b", limits, 1) == 1
    assert taken(Allowances(tmp_path / "usage"), "a", limits, 2) == 2
    assert taken(Allowances(tmp_path / "usage"), "a", limits, 9) == 3
    assert taken(Allowances(tmp_path / "usage"), "b", limits, 9) == 4


def test_a_machine_that_starts_anew_locks_nobody_out(tmp_path: Path, clock: Clock) -> None:
    allowances, limits = Allowances(tmp_path / "usage"), Limits.of(10, 5, None)
    assert taken(allowances, "a", limits, 9) == 5
    clock.now_s -= 500_000  # the monotonic clock counts from the boot
    assert taken(allowances, "a", limits, 9) == 5
    assert taken(allowances, "a", limits, 9) == 0


def _hammer(path: Path, results: multiprocessing.Queue[int]) -> None:
    results.put(taken(Allowances(path), "a", Limits.of(None, None, 1000), 400))


def test_processes_count_together(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[int] = context.Queue()
    path = tmp_path / "usage"
    processes = [context.Process(target=_hammer, args=(path, results)) for _ in range(4)]
    for process in processes:
        process.start()
    counted = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    assert sum(counted) == 1000
