"""The highest rate within an objective: found from below, halved in, and confirmed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Point = dict[str, Any]
"""A step's figures; `objective_met` and `void` are read here."""

CURVE = (0.1, 0.25, 0.5, 0.75, 0.9, 1.1, 1.3)
"""Shares of the highest rate at which the curve is measured."""


@dataclass(frozen=True)
class Effort:
    """How hard to look.

    Args:
        start: requests per second to begin with.
        resolution: the found rate and the lowest that failed are this close, as a share.
        attempts: a step has failed when it failed so often: a disturbance is not the service's.
        repeats: the found rate must hold so often in a row.
        back_off: share of the rate that is left if it does not.
        most: no rate above this is tried.

    """

    start: float = 8.0
    resolution: float = 0.04
    attempts: int = 2
    repeats: int = 3
    back_off: float = 0.95
    most: float = 100_000.0


@dataclass
class Search:
    """What was found: `highest` is 0 if no rate held. `bound` says what limits it."""

    highest: float = 0.0
    bound: str = "objective"
    points: list[Point] = field(default_factory=list)
    confirmed: list[Point] = field(default_factory=list)


def find_highest(
    probe: Callable[[float], Point],
    effort: Effort,
    *,
    quick: Callable[[float], Point] | None = None,
    curve: Sequence[float] = CURVE,
) -> Search:
    """Search for the highest rate at which a step meets its objective.

    Args:
        probe: runs a step of full length at a rate.
        effort: how hard to look.
        quick: runs a short one, to find out where to look; `probe` if it is None. Its points are
            not kept.
        curve: shares of the highest rate at which more points are measured.

    """
    found = Search()
    low, high = _bracket(quick or probe, effort)

    def holds(rate: float) -> bool:
        for _ in range(effort.attempts):
            point = probe(rate)
            found.points.append(point)
            if point["objective_met"] and not point["void"]:
                found.bound = "objective"
                return True
        found.bound = point["void"] or "objective"
        return False

    while low and not holds(low):  # a short step promised too much
        low, high = low / 2, low
        if low < effort.start / 64:
            low = 0.0
    while low and high / low > 1 + effort.resolution:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if holds(middle) else (low, middle)
    found.highest = _confirm(probe, low, effort, found)
    for share in curve:
        if found.highest:
            found.points.append(probe(share * found.highest))
    found.points.sort(key=lambda point: float(point["rate"]))
    return found


def _bracket(probe: Callable[[float], Point], effort: Effort) -> tuple[float, float]:
    """A rate that held and one, twice as high, that did not; the first is 0 if none held."""
    rate = effort.start
    if _holds_once(probe, rate, effort):
        while 2 * rate <= effort.most and _holds_once(probe, 2 * rate, effort):
            rate *= 2
        return rate, min(2 * rate, effort.most)
    for _ in range(6):
        rate /= 2
        if _holds_once(probe, rate, effort):
            return rate, 2 * rate
    return 0.0, rate


def _holds_once(probe: Callable[[float], Point], rate: float, effort: Effort) -> bool:
    for _ in range(effort.attempts):
        point = probe(rate)
        if point["objective_met"] and not point["void"]:
            return True
    return False


def _confirm(probe: Callable[[float], Point], rate: float, effort: Effort, found: Search) -> float:
    """Lower the rate until it holds as often as asked; 0 if half of it does not."""
    floor = rate / 2
    while rate and rate >= floor:
        found.confirmed = []
        for _ in range(effort.repeats):
            point = probe(rate)
            found.points.append(point)
            if point["void"] or not point["objective_met"]:
                break
            found.confirmed.append(point)
        else:
            return rate
        rate *= effort.back_off
    return 0.0
