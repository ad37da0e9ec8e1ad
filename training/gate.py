"""The gate: is a candidate good enough, and no worse than what is served?

Floors are absolute. Beside the served version the candidate is tested, where both were measured on
the same examples: it is refused if a one-sided paired test says that it is worse, so that chance
neither blocks a model as good as the served one nor lets a worse one through. Without such pairs
(another vocabulary, say) published figures are compared, with a tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from service.contract import Gate, GateCheck
from training.measures.paired import PairedTest

Goal = Literal["max", "min"]

SIGNIFICANCE = 0.01
"""A p value below this is no chance: of a hundred candidates as good as the served version, one is
blocked. A usual 0.05 would block one in twenty, on each figure."""


@dataclass(frozen=True)
class Rule:
    """What one figure must reach.

    `goal` says which way is better. `floor` is absolute (a ceiling where the goal is "min").
    `tolerance` is how much worse than the served version's figure it may be where the two were not
    measured on the same examples; `allowed_loss` is how much worse it may be though a paired test
    is sure of it. All are in the metric's own units.
    """

    metric: str
    goal: Goal
    floor: float | None = None
    tolerance: float = 0.0
    allowed_loss: float = 0.0


@dataclass(frozen=True)
class Beside:
    """The served version, measured beside the candidate."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    """Its published figures."""
    tests: Mapping[str, PairedTest] = field(default_factory=dict)
    """Figures of both on the same examples."""
    costs: Mapping[str, float] = field(default_factory=dict)
    """What the candidate costs, as multiples of the served version."""
    ways_out: Mapping[str, str] = field(default_factory=dict)
    """What to do about a cost that is too high, in words."""
    obstacle: str = ""
    """Why there are no tests, if there are none."""


def judge(
    metrics: Mapping[str, float],
    rules: Sequence[Rule],
    served: Beside | Mapping[str, float] | None = None,
    *,
    ceilings: Mapping[str, float] | None = None,
) -> Gate:
    """Hold the candidate's metrics against every rule; the gate passes if every check does.

    A metric that is missing or not finite fails, with the value NaN if it is missing. Without a
    served version, or with one that lacks the metric, the floor alone counts. Rules are required:
    a gate that looks at nothing would let everything pass.

    Args:
        metrics: the candidate's figures.
        rules: what is demanded of them.
        served: what is known of the served version; its published figures, if that is all.
        ceilings: the largest multiple allowed of each of `served.costs`.

    """
    assert rules, "a gate needs a rule"
    beside = served if isinstance(served, Beside) else Beside(metrics=served or {})
    checks = [_check(metrics, rule, beside) for rule in rules]
    for name, ratio in beside.costs.items():
        check = GateCheck(
            metric=name, value=ratio, goal="min", floor=(ceilings or {})[name], passed=False
        )
        passed = _passes(check)
        note = "" if passed else beside.ways_out.get(name, "")
        checks.append(msgspec.structs.replace(check, passed=passed, note=note))
    return Gate(passed=all(check.passed for check in checks), checks=tuple(checks))


def explain(gate: Gate) -> str:
    """The verdict in words: a line per figure, with how far it is from each of its bounds."""
    lines = ["The gate passed:" if gate.passed else "The gate refused:"]
    for check in gate.checks:
        verdict = "passed" if check.passed else "refused"
        if math.isfinite(check.value):
            reasons = [_compare(check.value, bound, check.goal) for bound in _bounds(check)]
            if check.test:
                reasons.append(_describe_test(check))
            if check.note:
                reasons.append(check.note)
            lines.append(f"  {check.metric} = {check.value:.4g} {verdict}: {'; '.join(reasons)}")
        else:
            lines.append(f"  {check.metric} {verdict}: it was not measured, or is not a number")
    return "\n".join(lines)


def chance(p_value: float) -> str:
    """A p value in plain words."""
    odds = f"{p_value:.0%} of the time" if p_value >= 0.1 else f"once in {1 / p_value:,.0f} times"
    if p_value < 1e-6:
        odds = "less than once in a million times"
    return f"p = {p_value:.2g}: chance alone does this {odds}"


@dataclass(frozen=True)
class _Bound:
    name: str
    value: float


def _check(metrics: Mapping[str, float], rule: Rule, beside: Beside) -> GateCheck:
    test = beside.tests.get(rule.metric)
    value = float(metrics.get(rule.metric, math.nan))
    served = beside.metrics.get(rule.metric) if test is None else test.served
    if served is not None and not math.isfinite(served):
        served = None
    check = GateCheck(
        metric=rule.metric,
        value=value,
        goal=rule.goal,
        floor=rule.floor,
        served=served,
        tolerance=rule.tolerance if test is None else rule.allowed_loss,
        passed=False,
    )
    if test is not None:
        check = msgspec.structs.replace(
            check,
            test=test.name,
            p_value=test.p_value,
            worse=test.worse,
            better=test.better,
            examples=test.examples,
        )
    elif served is not None:
        check = msgspec.structs.replace(check, note=beside.obstacle)
    return msgspec.structs.replace(check, passed=_passes(check))


def _passes(check: GateCheck) -> bool:
    missed = any(_shortfall(check.value, b.value, check.goal) > 0 for b in _bounds(check))
    return math.isfinite(check.value) and not missed and not _is_surely_worse(check)


def _is_surely_worse(check: GateCheck) -> bool:
    """Whether the test says so, and the loss is more than is allowed all the same."""
    if check.p_value is None or check.served is None or check.p_value >= SIGNIFICANCE:
        return False
    return _shortfall(check.value, check.served, check.goal) > check.tolerance


def _bounds(check: GateCheck) -> list[_Bound]:
    bounds = []
    if check.floor is not None:
        name = "floor" if check.goal == "max" else "ceiling"
        bounds.append(_Bound(f"the {name} {check.floor:.4g}", check.floor))
    if check.served is not None and not check.test:
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


def _describe_test(check: GateCheck) -> str:
    assert check.served is not None and check.p_value is not None, "a test is of two figures"
    loss = _shortfall(check.value, check.served, check.goal)
    versus = f"the served version's {check.served:.4g}"
    found = f"{'worse' if loss > 0 else 'better'} than {versus} by {abs(loss):.4g}"
    if loss == 0:
        found = f"as good as {versus}"
    counts = f"worse on {check.worse:,} and better on {check.better:,} of {check.examples:,}"
    if loss <= 0:
        return f"{found} ({counts} examples)"
    words = f"{found} ({check.test}, {counts} examples; {chance(check.p_value)}"
    if check.p_value >= SIGNIFICANCE:
        return f"{words}, which is not rare enough to refuse it)"
    if loss <= check.tolerance:
        return f"{words}, but {check.tolerance:.4g} was allowed)"
    return f"{words})"
