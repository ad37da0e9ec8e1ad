"""The gate: is a candidate good enough, and no worse than what is served?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from service.contract import Gate, GateCheck

Goal = Literal["max", "min"]


@dataclass(frozen=True)
class Rule:
    """What one figure must reach.

    `goal` says which way is better. `floor` is absolute (a ceiling where the goal is "min");
    `tolerance` is how much worse than the served version's figure it may be, so that a retraining
    that differs by chance alone still passes. Both are in the metric's own units.
    """

    metric: str
    goal: Goal
    floor: float | None = None
    tolerance: float = 0.0


def judge(
    metrics: Mapping[str, float],
    rules: Sequence[Rule],
    served_metrics: Mapping[str, float] | None = None,
) -> Gate:
    """Hold the candidate's metrics against every rule; the gate passes if every check does.

    A metric that is missing or not finite fails, with the value NaN if it is missing. Without a
    served version, or with one that lacks the metric, the floor alone counts. Rules are required:
    a gate that looks at nothing would let everything pass.
    """
    assert rules, "a gate needs a rule"
    checks = tuple(_check(metrics, rule, served_metrics or {}) for rule in rules)
    return Gate(passed=all(check.passed for check in checks), checks=checks)


def explain(gate: Gate) -> str:
    """The verdict in words: a line per figure, with how far it is from each of its bounds."""
    lines = ["The gate passed:" if gate.passed else "The gate refused:"]
    for check in gate.checks:
        verdict = "passed" if check.passed else "refused"
        if math.isfinite(check.value):
            reasons = [_compare(check.value, bound, check.goal) for bound in _bounds(check)]
            lines.append(f"  {check.metric} = {check.value:.4g} {verdict}: {'; '.join(reasons)}")
        else:
            lines.append(f"  {check.metric} {verdict}: it was not measured, or is not a number")
    return "\n".join(lines)


@dataclass(frozen=True)
class _Bound:
    name: str
    value: float


def _check(
    metrics: Mapping[str, float], rule: Rule, served_metrics: Mapping[str, float]
) -> GateCheck:
    value = float(metrics.get(rule.metric, math.nan))
    served = served_metrics.get(rule.metric)
    if served is not None and not math.isfinite(served):
        served = None
    undecided = GateCheck(
        metric=rule.metric,
        value=value,
        goal=rule.goal,
        floor=rule.floor,
        served=served,
        tolerance=rule.tolerance,
        passed=False,
    )
    bounds = _bounds(undecided)
    passed = math.isfinite(value) and all(
        _shortfall(value, b.value, rule.goal) <= 0 for b in bounds
    )
    return msgspec.structs.replace(undecided, passed=passed)


def _bounds(check: GateCheck) -> list[_Bound]:
    bounds = []
    if check.floor is not None:
        name = "floor" if check.goal == "max" else "ceiling"
        bounds.append(_Bound(f"the {name} {check.floor:.4g}", check.floor))
    if check.served is not None:
        sign = 1.0 if check.goal == "max" else -1.0
        name = f"the served version's {check.served:.4g} (tolerance {check.tolerance:.4g})"
        bounds.append(_Bound(name, check.served - sign * check.tolerance))
    return bounds


def _shortfall(value: float, bound: float, goal: Goal) -> float:
    """By how much the value misses the bound; 0 or less if it does not."""
    return bound - value if goal == "max" else value - bound


def _compare(value: float, bound: _Bound, goal: Goal) -> str:
    shortfall = _shortfall(value, bound.value, goal)
    if shortfall <= 0:
        return f"clears {bound.name} by {-shortfall:.4g}"
    return f"misses {bound.name} by {shortfall:.4g}"
