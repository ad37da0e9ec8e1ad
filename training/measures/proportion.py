"""A share of successes and how sure one can be of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

_Z_95 = 1.959963984540054  # 97.5th percentile of the normal distribution


@dataclass(frozen=True)
class Proportion:
    """Share of successes among `trials`, 0 to 1, with its 95 % interval.

    The interval is Wilson's (Probable Inference, the Law of Succession, and Statistical Inference,
    JASA 22, 1927), which stays within 0 and 1 and holds for shares near them.
    """

    successes: int
    trials: int

    @property
    def value(self) -> float:
        """The share itself; NaN of no trials."""
        return self.successes / self.trials if self.trials else math.nan

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self._interval()[0]

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self._interval()[1]

    def _interval(self) -> tuple[float, float]:
        if not self.trials:
            return math.nan, math.nan
        share, z2_per_trial = self.value, _Z_95**2 / self.trials
        centre = (share + z2_per_trial / 2) / (1 + z2_per_trial)
        spread = math.sqrt(z2_per_trial * (share * (1 - share) + z2_per_trial / 4))
        half = spread / (1 + z2_per_trial)
        return max(0.0, centre - half), min(1.0, centre + half)

    def __str__(self) -> str:
        return f"{self.value:.2%} (95 % interval {self.low:.2%} to {self.high:.2%})"
