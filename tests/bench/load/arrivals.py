"""When requests are to be sent, and of which kind each is: fixed before the clock starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Arrivals = Literal["constant", "poisson"]


def arrival_times(
    rate: float, duration_s: float, arrivals: Arrivals, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Intended send times within [0, duration_s), rising.

    Args:
        rate: requests per second.
        duration_s: how long requests are sent.
        arrivals: `constant`: every 1/rate seconds; `poisson`: independent, of that mean rate.
        rng: draws the latter.

    """
    assert rate > 0
    assert duration_s > 0
    if arrivals == "constant":
        # Rounded first: 0.1 * 30 is a little more than 3.
        return np.arange(int(np.ceil(round(rate * duration_s, 6)))) / rate
    # A Poisson process, given how many arrive: so many independent uniform times.
    return np.sort(rng.uniform(0, duration_s, rng.poisson(rate * duration_s)))


def assign(shares: Sequence[float], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Which kind each of `count` requests is, drawn by share; shares need not add up to 1."""
    weights = np.asarray(shares, dtype=float)
    assert (weights >= 0).all()
    assert weights.sum() > 0
    return rng.choice(len(weights), size=count, p=weights / weights.sum())
