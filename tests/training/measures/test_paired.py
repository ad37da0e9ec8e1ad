"""Tests of pairs, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from training.measures.paired import bootstrap, compare_pairs, mcnemar


@pytest.mark.parametrize(
    ("worse", "better", "p_value"),
    [
        (10, 2, (66 + 12 + 1) / 4096),
        (2, 10, 1 - (1 + 12) / 4096),
        (5, 0, 1 / 32),
        (0, 5, 1.0),
        (0, 0, 1.0),
        (8, 1, 10 / 512),
    ],
)
def test_mcnemar_is_the_tail_of_a_binomial(worse: int, better: int, p_value: float) -> None:
    assert mcnemar(worse, better) == pytest.approx(p_value, rel=1e-12)


def test_mcnemar_of_thousands_of_pairs() -> None:
    assert mcnemar(2500, 2500) == pytest.approx(0.5056, abs=1e-4)  # half, and half of the middle
    assert 0 < mcnemar(2700, 2300) < 1e-7


@pytest.mark.parametrize(
    ("losses", "p_value"),
    [
        ([3.0, -1.0], 1 / 4),  # of four draws, around 0, one has a mean of 1 or more
        ([0.0, 0.0, 3.0], 7 / 27),
        ([-3.0, 1.0], 3 / 4),
    ],
)
def test_the_bootstrap_draws_as_many_as_there_are(losses: list[float], p_value: float) -> None:
    assert bootstrap(np.array(losses), seed=0) == pytest.approx(p_value, abs=0.02)


def test_the_bootstrap_of_one_same_loss_everywhere_is_sure() -> None:
    assert bootstrap(np.full(50, 0.25), seed=0) == pytest.approx(1e-4)
    assert bootstrap(np.zeros(50), seed=0) == 1.0
    assert bootstrap(np.array([np.nan, 0.0]), seed=0) == 0.0


def test_the_bootstrap_is_a_function_of_its_seed() -> None:
    losses = np.random.default_rng(0).normal(0.1, 1.0, 100)
    assert bootstrap(losses, 1) == bootstrap(losses, 1) != bootstrap(losses, 2)


def test_worse_is_what_the_goal_says() -> None:
    candidate, served = np.array([True, False, False]), np.array([False, True, True])
    more = compare_pairs(candidate, served, more_is_better=True, seed=0)
    less = compare_pairs(candidate, served, more_is_better=False, seed=0)
    assert (more.worse, more.better, more.examples) == (2, 1, 3)
    assert (less.worse, less.better) == (1, 2)
    assert (more.value, more.served) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert more.name == "exact McNemar test"
    losses = compare_pairs(np.array([1.0, 2.0]), np.array([1.5, 1.0]), more_is_better=False, seed=0)
    assert (losses.name, losses.worse, losses.better) == ("paired bootstrap", 1, 1)
