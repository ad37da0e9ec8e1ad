"""Who may wait: by rows, by the time of those ahead, and how that time is known."""

from __future__ import annotations

import pytest

from service.admission import Admission
from service.errors import OverloadedError, TooLargeError


def paced(row_s: float, *, rows: int = 8, runs: int = 60, **options: float) -> Admission:
    """One that has seen full batches end, each as long as its rows need."""
    admission = Admission(1000, **options)  # type: ignore[arg-type]
    for run in range(runs):
        admission.left(rows, run * rows * row_s, 100, run_s=rows * row_s)
    return admission


def test_rows_bound_the_queue() -> None:
    admission = Admission(4, noun="sequences")
    admission.check(1, 3)
    with pytest.raises(OverloadedError, match="3 sequences are waiting; the limit is 4") as caught:
        admission.check(2, 3)
    assert caught.value.retry_after_s == 1.0  # nothing is known of the pace yet
    with pytest.raises(TooLargeError, match="5 sequences in a request; the limit is 4"):
        admission.check(5, 0)


def test_time_bounds_the_queue_and_says_when_to_come_again() -> None:
    admission = paced(0.01, max_wait_s=0.5)
    admission.check(1, 47)
    with pytest.raises(OverloadedError, match=r"48 rows .* about 0\.50 s"):
        admission.check(1, 48)  # a twentieth more is expected than the pace says
    with pytest.raises(OverloadedError, match=r"80 rows .* about 0\.84 s; the limit is 0\.5 s") as (
        caught
    ):
        admission.check(1, 80)
    assert caught.value.retry_after_s == pytest.approx(0.34)
    admission.check_room(1, 80)  # was let in before it was decoded
    admission.check(900, 0)  # nobody is ahead: however large, it need not wait


def test_what_runs_is_ahead_too() -> None:
    admission = paced(0.01, max_wait_s=0.5)
    admission.check(1, 27, running=20)
    with pytest.raises(OverloadedError, match=r"48 rows are ahead, .* about 0\.50 s"):
        admission.check(1, 28, running=20)
    admission.check(1, 0, running=900)  # else the lane would be idle after each such run


def test_without_a_limit_of_time_rows_alone_count() -> None:
    paced(10.0).check(1, 999)


def test_the_pace_is_that_of_all_lanes_together() -> None:
    """Two lanes whose runs of 8 rows take 80 ms end one every 40 ms."""
    admission = Admission(1000)
    for run in range(100):
        admission.left(8, run * 0.04, 100, run_s=0.08)
    assert admission.row_s == pytest.approx(0.005, rel=0.01)


def test_the_pace_follows_a_machine_that_gets_slower() -> None:
    admission = paced(0.01)
    for run in range(1, 61):
        admission.left(8, 60 * 0.08 + run * 0.4, 100, run_s=0.4)
    assert admission.row_s == pytest.approx(0.05, rel=0.02)


def test_time_without_a_queue_counts_for_nothing() -> None:
    """Rows that waited were cancelled, then nobody came for an hour."""
    admission = paced(0.01)
    before = admission.row_s
    admission.check(1, 0)
    admission.left(1, 3600.0, 0, run_s=0.02)
    assert admission.row_s == before


def test_a_run_nobody_waits_for_bounds_the_pace_from_above() -> None:
    admission = Admission(1000)
    admission.left(1, 0.0, 0, run_s=0.02)
    assert admission.row_s == 0.02
    admission.left(8, 1.0, 0, run_s=0.08)
    assert admission.row_s == 0.01
    admission.left(1, 2.0, 0, run_s=0.02)  # alone a row takes longer; that says nothing of a queue
    assert admission.row_s == 0.01
