"""The gate's verdict and its words."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.gate import Rule, explain, judge

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
