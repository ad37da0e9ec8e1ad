"""The gate's verdict and its words."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.gate import SIGNIFICANCE, Beside, Rule, chance, explain, judge
from training.measures.paired import PairedTest, compare_pairs

ACCURACY = Rule("accuracy", "max", floor=0.88, tolerance=0.005)
LOSS = Rule("loss", "min", floor=1.60, tolerance=0.02)


@pytest.mark.parametrize(
    ("accuracy", "served", "passed"),
    [
        (0.88, None, True),
        (0.8799, None, False),
        (0.90, 0.90, True),
        (0.896, 0.90, True),
        (0.894, 0.90, False),
        (0.87, 0.80, False),  # better than the served and still below the floor
    ],
)
def test_more_is_better(accuracy: float, served: float | None, passed: bool) -> None:
    before = None if served is None else {"accuracy": served}
    assert judge({"accuracy": accuracy}, [ACCURACY], before).passed is passed


@pytest.mark.parametrize(
    ("loss", "served", "passed"),
    [(1.60, None, True), (1.61, None, False), (1.51, 1.50, True), (1.53, 1.50, False)],
)
def test_less_is_better(loss: float, served: float | None, passed: bool) -> None:
    before = None if served is None else {"loss": served}
    assert judge({"loss": loss}, [LOSS], before).passed is passed


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("rule", [ACCURACY, LOSS, Rule("accuracy", "max"), Rule("loss", "min")])
def test_what_is_not_a_number_fails(rule: Rule, value: float) -> None:
    gate = judge({rule.metric: value}, [rule])
    assert not gate.passed
    assert "is not a number" in explain(gate)


def test_a_missing_metric_fails() -> None:
    gate = judge({"accuracy": 0.95}, [ACCURACY, LOSS])
    assert not gate.passed
    assert [check.passed for check in gate.checks] == [True, False]
    assert math.isnan(gate.checks[1].value)


@pytest.mark.parametrize("served", [{}, {"accuracy": math.nan}])
def test_a_served_version_without_the_metric_is_not_compared_with(
    served: dict[str, float],
) -> None:
    gate = judge({"accuracy": 0.89}, [ACCURACY], served)
    assert gate.passed
    assert gate.checks[0].served is None


def test_the_checks_record_what_was_compared() -> None:
    (check,) = judge({"loss": 1.55, "other": 3.0}, [LOSS], {"loss": 1.54}).checks
    assert (check.metric, check.value, check.goal) == ("loss", 1.55, "min")
    assert (check.floor, check.served, check.tolerance) == (1.60, 1.54, 0.02)


def test_the_words_name_the_figure_and_by_how_much() -> None:
    gate = judge({"accuracy": 0.871, "loss": 1.58}, [ACCURACY, LOSS], {"loss": 1.5})
    assert explain(gate).splitlines() == [
        "The gate refused:",
        "  accuracy = 0.871 refused: misses the floor 0.88 by 0.009",
        "  loss = 1.58 refused: clears the ceiling 1.6 by 0.02; "
        "misses the served version's 1.5 (tolerance 0.02) by 0.06",
    ]
    assert explain(judge({"accuracy": 0.9}, [ACCURACY])).startswith("The gate passed:")


@given(
    value=st.floats(0, 1),
    served=st.floats(0, 1),
    better=st.floats(0, 1),
    goal=st.sampled_from(["max", "min"]),
)
def test_a_better_figure_never_turns_a_pass_into_a_refusal(
    value: float, served: float, better: float, goal: str
) -> None:
    rule = Rule("m", "max" if goal == "max" else "min", floor=0.5, tolerance=0.1)
    improved = max(value, better) if goal == "max" else min(value, better)
    if judge({"m": value}, [rule], {"m": served}).passed:
        assert judge({"m": improved}, [rule], {"m": served}).passed


def pairs(worse: int, better: int, *, images: int = 5000, wrong: int = 400) -> PairedTest:
    """A candidate that fails on `worse` images which the served version gets right, and gets
    `better` of those right which that one fails on.
    """
    served_N = np.arange(images) >= wrong
    candidate_N = served_N.copy()
    candidate_N[:better], candidate_N[images - worse :] = True, False
    return compare_pairs(candidate_N, served_N, more_is_better=True, seed=0)


@pytest.mark.parametrize(
    ("worse", "better", "passed"),
    [
        (0, 0, True),
        (100, 100, True),
        (110, 90, True),  # 20 images fewer, and chance does that often
        (30, 5, False),  # half a point, within the tolerance, and no chance
        (20, 5, False),
        (5, 20, True),
        (9, 1, True),  # p = 0.0107
        (10, 1, False),  # p = 0.0059
    ],
)
def test_a_test_on_the_same_examples_decides_and_not_the_tolerance(
    worse: int, better: int, passed: bool
) -> None:
    test = pairs(worse, better)
    rule = Rule("accuracy", "max", floor=0.5, tolerance=0.01)
    gate = judge({"accuracy": test.value}, [rule], Beside(tests={"accuracy": test}))
    assert gate.passed is passed
    (check,) = gate.checks
    assert (check.worse, check.better, check.examples) == (worse, better, 5000)
    assert check.p_value == test.p_value
    assert check.served == pytest.approx(0.92)
    assert check.tolerance == 0.0


def test_models_as_good_as_each_other_are_blocked_as_rarely_as_promised() -> None:
    draw, refused, trials = np.random.default_rng(0), 0, 1000
    for _ in range(trials):
        candidate_N, served_N = draw.random((2, 1000)) < 0.9
        test = compare_pairs(candidate_N, served_N, more_is_better=True, seed=0)
        gate = judge({"m": test.value}, [Rule("m", "max")], Beside(tests={"m": test}))
        refused += not gate.passed
    assert 0 < refused <= 1.5 * SIGNIFICANCE * trials


def test_a_worse_model_is_found_where_the_tolerance_would_let_it_through() -> None:
    draw = np.random.default_rng(0)
    rule = Rule("loss", "min", floor=9.0, tolerance=0.02)
    for _ in range(20):
        served_W = draw.normal(1.5, 0.1, 435)
        # 0.01 nats more in the mean: half the tolerance, a tenth of what windows differ by.
        candidate_W = served_W + draw.normal(0.01, 0.02, 435)
        test = compare_pairs(candidate_W, served_W, more_is_better=False, seed=0)
        gate = judge({"loss": test.value}, [rule], Beside(tests={"loss": test}))
        assert not gate.passed
        assert judge({"loss": test.value}, [rule], {"loss": test.served}).passed


def test_the_floor_counts_beside_a_test() -> None:
    test = pairs(0, 300)
    beside = Beside(tests={"accuracy": test})
    assert test.value == pytest.approx(0.98)
    assert not judge({"accuracy": 0.98}, [Rule("accuracy", "max", floor=0.99)], beside).passed


def test_a_loss_may_be_allowed_though_it_is_sure() -> None:
    beside = Beside(tests={"accuracy": pairs(30, 5)})
    for allowed, passed in ((0.004, False), (0.006, True)):
        rule = Rule("accuracy", "max", allowed_loss=allowed)
        gate = judge({"accuracy": 0.915}, [rule], beside)
        assert gate.passed is passed
    assert "but 0.006 was allowed" in explain(gate)


def test_costs_are_held_to_multiples_of_the_served_versions() -> None:
    beside = Beside(costs={"time_ratio": 1.6, "size_ratio": 1.0})
    ceilings = {"time_ratio": 1.5, "size_ratio": 2.0}
    gate = judge({"m": 1.0}, [Rule("m", "max")], beside, ceilings=ceilings)
    assert [check.passed for check in gate.checks] == [True, False, True]
    assert "  time_ratio = 1.6 refused: misses the ceiling 1.5 by 0.1" in explain(gate)


def test_the_words_say_what_a_test_found() -> None:
    rule = Rule("accuracy", "max", floor=0.88)
    for (worse, better), words in {
        (30, 5): "refused: clears the floor 0.88 by 0.035; worse than the served version's 0.92 by "
        "0.005 (exact McNemar test, worse on 30 and better on 5 of 5,000 examples; "
        "p = 1.1e-05: chance alone does this once in 89,439 times)",
        (9, 1): "passed: clears the floor 0.88 by 0.0384; worse than the served version's 0.92 by "
        "0.0016 (exact McNemar test, worse on 9 and better on 1 of 5,000 examples; "
        "p = 0.011: chance alone does this once in 93 times, which is not rare enough to refuse "
        "it)",
        (0, 10): "passed: clears the floor 0.88 by 0.042; better than the served version's 0.92 by "
        "0.002 (worse on 0 and better on 10 of 5,000 examples)",
    }.items():
        test = pairs(worse, better)
        said = explain(judge({"accuracy": test.value}, [rule], Beside(tests={"accuracy": test})))
        assert said.splitlines()[1].endswith(words)


def test_why_there_was_no_test_is_said() -> None:
    beside = Beside(metrics={"accuracy": 0.9}, obstacle="no test: other classes")
    gate = judge({"accuracy": 0.89}, [ACCURACY], beside)
    assert not gate.passed
    assert gate.checks[0].tolerance == 0.005
    words = "misses the served version's 0.9 (tolerance 0.005) by 0.005; no test: other classes"
    assert words in explain(gate)


@pytest.mark.parametrize(
    ("p_value", "words"),
    [(0.5, "50% of the time"), (0.001, "once in 1,000 times"), (1e-30, "a million times")],
)
def test_p_values_in_plain_words(p_value: float, words: str) -> None:
    assert words in chance(p_value)
