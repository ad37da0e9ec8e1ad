"""How many replicas a rate needs.

    replicas = ceil(rate / (utilisation x highest))

`highest` is the rate that one replica was measured to take within the objective; for an objective
that was not measured it is read from the curve. `utilisation` is the share of it that is used on
a usual day: the rest is for bursts, for a replica that fails, and for a rollout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

UTILISATION = 0.7
"""What the autoscaler of deploy/kubernetes aims at."""


@dataclass(frozen=True)
class Advice:
    """`replicas` of one core each for `rate` requests per second; each then gets `each` of them."""

    rate: float
    highest: float
    utilisation: float
    replicas: int

    @property
    def each(self) -> float:
        return self.rate / self.replicas

    @property
    def without_one(self) -> float:
        """Share of the highest rate that each takes while one of them is away; infinite if none
        is left.
        """
        return self.rate / (self.replicas - 1) / self.highest if self.replicas > 1 else math.inf


def advise(rate: float, highest: float, utilisation: float = UTILISATION) -> Advice:
    """Replicas for a rate.

    Args:
        rate: requests per second, all together.
        highest: requests per second of one replica within the objective.
        utilisation: share of `highest` that is used, above 0, at most 1.

    Raises:
        ValueError: one of them is out of its range.

    """
    if not (rate > 0 and math.isfinite(rate)):
        raise ValueError(f"the rate must be above 0, not {rate:g}")
    if not highest > 0:
        raise ValueError("one replica alone does not meet the objective at any rate")
    if not 0 < utilisation <= 1:
        raise ValueError(f"utilisation must be above 0 and at most 1, not {utilisation:g}")
    # Rounded: 0.7 * 100 is a little less than 70.
    replicas = max(1, math.ceil(round(rate / (utilisation * highest), 9)))
    return Advice(rate, highest, utilisation, replicas)


def highest_within(points: Sequence[Mapping[str, Any]], name: str, p99_ms: float) -> float:
    """The rate up to which a measured curve stays within an objective.

    Args:
        points: steps of one endpoint.
        name: the part of them that counts.
        p99_ms: the objective.

    Between the last rate within it and the first beyond, a straight line is drawn. At each rate
    the median of its steps counts; a step with a failed request is beyond. 0 if none is within.

    """
    by_rate: dict[float, list[float]] = {}
    for point in points:
        part = point["parts"][name]
        failed = part["ok"] < part["sent"] or part["p99_ms"] is None
        by_rate.setdefault(point["rate"], []).append(math.inf if failed else part["p99_ms"])
    highest, below_ms = 0.0, 0.0
    for rate in sorted(by_rate):
        values = sorted(by_rate[rate])
        here_ms = values[(len(values) - 1) // 2]
        if here_ms > p99_ms:
            if highest and math.isfinite(here_ms):
                highest += (rate - highest) * (p99_ms - below_ms) / (here_ms - below_ms)
            return highest
        highest, below_ms = rate, here_ms
    return highest
