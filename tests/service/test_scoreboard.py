"""The verdict on a version on trial, from counts."""

from __future__ import annotations

import math

import msgspec
import pytest

from service.scoreboard import LATENCY_BOUNDS_S, Scores, Tally, find_fault


def tally(requests: int, errors: int = 0, latency_s: float = 0.01) -> Tally:
    made = Tally()
    for number in range(requests):
        made.add(latency_s, failed=number < errors)
    return made


def fault(scores: Scores, *, least_requests: int = 50, least_agreement: float = 0.8) -> str:
    return find_fault(scores, least_requests=least_requests, least_agreement=least_agreement)


def test_nothing_seen_is_nothing_wrong() -> None:
    assert fault(Scores()) == ""
    assert fault(Scores(candidate=tally(100), incumbent=tally(100))) == ""


@pytest.mark.parametrize(
    ("mine", "theirs", "guilty"),
    [
        ((100, 2), (1900, 0), False),  # two tell nothing
        ((100, 3), (1900, 0), True),  # 0.05 ** 3
        ((100, 3), (1900, 60), False),  # as many as everybody has
        ((1000, 10), (1000, 10), False),
        ((1000, 30), (1000, 5), True),
        ((50, 3), (0, 0), True),
    ],
)
def test_errors_are_held_against_the_incumbents(
    mine: tuple[int, int], theirs: tuple[int, int], guilty: bool
) -> None:
    scores = Scores(candidate=tally(*mine), incumbent=tally(*theirs))
    found = fault(scores, least_requests=10_000)
    assert ("errors in" in found) is guilty


def test_the_error_test_is_binomial() -> None:
    scores = Scores(candidate=tally(100, 3), incumbent=tally(1900, 0))
    assert "(p = 0.00013)" in fault(scores)  # 0.05 ** 3 = 0.000125


def test_a_slower_version_is_found_when_enough_was_seen() -> None:
    slow = Scores(candidate=tally(60, latency_s=0.02), incumbent=tally(60, latency_s=0.01))
    assert "median latency is" in fault(slow)
    assert fault(slow, least_requests=61) == ""
    assert fault(Scores(candidate=tally(60, latency_s=0.012), incumbent=tally(60))) == ""


def test_other_answers_and_other_confidence_are_found() -> None:
    other = Scores(
        compared_rows=100, agreed_rows=70, candidate_confidence=60, incumbent_confidence=60
    )
    assert fault(other).startswith("it agrees on 70.0% of rows; 80%")
    surer = Scores(
        compared_rows=100, agreed_rows=90, candidate_confidence=80, incumbent_confidence=65
    )
    assert "differs by +0.150" in fault(surer)
    assert fault(surer, least_requests=101) == ""


def test_a_candidate_that_fails_on_copies_is_found() -> None:
    assert fault(Scores(failed_comparisons=3)) == "it failed on 3 copies of requests"


def test_workers_scores_add_up() -> None:
    total = Scores()
    for _ in range(2):
        other = Scores(
            candidate=tally(10, 1), incumbent=tally(20), compared_rows=5, agreed_rows=4.0
        )
        total.join(msgspec.json.decode(msgspec.json.encode(other), type=Scores))
    assert (total.candidate.requests, total.candidate.errors, total.incumbent.requests) == (
        20,
        2,
        40,
    )
    assert (total.compared_rows, total.agreed_rows) == (10, 8.0)
    assert sum(total.candidate.latency_counts) == 18
    assert "80.0% of 10 rows" in total.describe()


def test_quantiles_are_within_a_bucket() -> None:
    made = Tally()
    for millisecond in range(1, 101):
        made.add(millisecond / 1000, failed=False)
    assert 0.050 <= made.quantile_s(0.5) <= 0.050 * 1.15
    assert 0.099 <= made.quantile_s(0.99) <= 0.1 * 1.15
    assert math.isnan(Tally().quantile_s(0.5))
    made = Tally()
    made.add(2 * LATENCY_BOUNDS_S[-1], failed=False)
    assert math.isinf(made.quantile_s(0.5))
