"""Where a run stands; saved in its checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Progress:
    """Steps done, the figures of the epoch under way, and the best validation so far."""

    step: int = 0
    elapsed_s: float = 0.0
    best: float | None = None
    best_epoch: int = 0
    stale: int = 0
    """Validations since the best one."""
    sums: dict[str, float] = field(default_factory=dict)
    """Of the epoch under way: each figure's sum over its steps."""
    stopped: bool = False

    def add(self, figures: Mapping[str, float]) -> None:
        """Count a step with its figures."""
        for key, value in figures.items():
            self.sums[key] = self.sums.get(key, 0.0) + value
        self.step += 1

    def improves(self, value: float, goal: str) -> bool:
        """Whether a figure is the best so far (`goal`: "max" or "min"), and from now on the one
        to beat; what is not finite never is.
        """
        sign = 1 if goal == "max" else -1
        best = -math.inf if self.best is None else sign * self.best
        if not best < sign * value < math.inf:  # which a NaN is not either
            return False
        self.best = value
        return True
