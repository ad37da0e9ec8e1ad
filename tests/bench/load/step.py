"""A step: one rate for a while, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.bench.load.arrivals import Arrivals, arrival_times, assign
from tests.bench.load.orders import CUT_SHORT, LEFT, LOST, UNANSWERED, Order, Record, generate
from tests.bench.load.targets import Target

LEAST = 20
"""Requests that a step has at least, if it need not last ten times as long for them."""
BUSY = 0.9
"""A generator that uses more than this of its core voids a step."""
REFUSED = 429


@dataclass(frozen=True)
class Place:
    """Where the service is, and how it is loaded.

    Args:
        host, port: of the service.
        connections: most at a time.
        grace_s: how long answers are waited for after the last request.
        cores: where the generator runs; empty: anywhere.
        late_ms: a generator that is later than this at p99 voids a step.

    """

    host: str
    port: int
    connections: int = 2048
    grace_s: float = 30.0
    cores: frozenset[int] = frozenset()
    late_ms: float = 5.0


@dataclass(frozen=True)
class Demand:
    """What is sent: targets by share, at a rate (requests per second), for a while.

    The first `warm_s` are sent but not counted.
    """

    targets: Sequence[Target]
    shares: Sequence[float]
    arrivals: Arrivals = "constant"
    warm_s: float = 1.0
    seed: int = 0


def run_step(place: Place, demand: Demand, rate: float, duration_s: float) -> dict[str, Any]:
    """Send at `rate` for `warm_s` and then `duration_s`, or longer if that makes fewer requests
    than `LEAST`; the figures, as `summarise`.
    """
    duration_s = max(duration_s, min(LEAST / rate, 10 * duration_s))
    record = record_step(place, demand, rate, duration_s)
    return summarise(record, demand, rate, duration_s, late_ms=place.late_ms)


def record_step(place: Place, demand: Demand, rate: float, duration_s: float) -> Record:
    """Send at `rate`; what became of each request."""
    rng = np.random.default_rng(demand.seed)
    due_s = arrival_times(rate, demand.warm_s + duration_s, demand.arrivals, rng)
    return generate(
        Order(
            place.host,
            place.port,
            due_s,
            assign(demand.shares, len(due_s), rng),
            [target.requests(place.host) for target in demand.targets],
            [target.abandon_s for target in demand.targets],
            place.connections,
            place.grace_s,
            place.cores,
        )
    )


def summarise(
    record: Record, demand: Demand, rate: float, duration_s: float, *, late_ms: float = 5.0
) -> dict[str, Any]:
    """Figures of the requests due in the counted time, all together and by target.

    `goodput` is good answers per second of that time, by when they came. Latencies, in
    milliseconds, are those of good answers, and of refusals, from the intended send time.
    """
    counted = record.due_s >= demand.warm_s
    lag_ms = 1000 * (record.taken_s - record.due_s)[counted]
    parts = {
        target.name: _part(record, counted & (record.kind == index), target, demand, duration_s)
        for index, target in enumerate(demand.targets)
    }
    cores = record.cpu_s / record.elapsed_s
    lagged_ms = _quantile(lag_ms, 0.99) or 0.0
    void = ""
    if lagged_ms > late_ms:
        void = f"the generator was {lagged_ms:.1f} ms late at p99"
    elif cores > BUSY:
        void = f"the generator used {cores:.0%} of its core"
    counts = {key: sum(part[key] for part in parts.values()) for key in _COUNTS}
    return {
        "rate": rate,
        "arrivals": demand.arrivals,
        "duration_s": duration_s,
        **counts,
        "goodput": counts["in_time"] / duration_s,
        "objective_met": counts["sent"] > 0
        and all(part["objective_met"] for part in parts.values()),
        "generator_late_ms": lagged_ms,
        "generator_cores": cores,
        "void": void,
        "parts": parts,
    }


_COUNTS = ("sent", "ok", "in_time", "refused", "with_retry_after", "other", "lost")


def _part(
    record: Record, chosen: NDArray[np.bool_], target: Target, demand: Demand, duration_s: float
) -> dict[str, Any]:
    status = record.status[chosen]
    due_s, first_s, last_s = record.due_s[chosen], record.first_s[chosen], record.last_s[chosen]
    ok = status == target.expects
    if target.abandon_s:
        ok |= status == LEFT
    refused = status == REFUSED
    lost = (status == LOST) | (status == UNANSWERED) | (status == CUT_SHORT)
    judged_s = first_s if target.judged == "first" else last_s
    good_ms = 1000 * (judged_s - due_s)[ok & ~np.isnan(judged_s)]
    refused_ms = 1000 * (last_s - due_s)[refused]
    # By when they came, of all that were due: what was due in the first, uncounted seconds too.
    everything = record.kind == record.kind[chosen][0] if chosen.any() else chosen
    answered_s = record.last_s[everything & (record.status == target.expects)]
    until_s = demand.warm_s + duration_s
    p99_ms = _quantile(good_ms, 0.99)
    others = sorted({int(one) for one in status[~ok & ~refused & ~lost]})
    quantiles = {f"p{name}_ms": _quantile(good_ms, share) for name, share in _QUANTILES.items()}
    return {
        "sent": len(status),
        "ok": int(ok.sum()),
        "in_time": int(((answered_s >= demand.warm_s) & (answered_s < until_s)).sum()),
        "refused": int(refused.sum()),
        "with_retry_after": int(record.retry_after[chosen].sum()),
        "other": len(status) - int(ok.sum() + refused.sum() + lost.sum()),
        "other_statuses": others,
        "lost": int(lost.sum()),
        **quantiles,
        "max_ms": float(good_ms.max()) if len(good_ms) else None,
        "refused_p99_ms": _quantile(refused_ms, 0.99),
        "objective_ms": target.objective_ms,
        "objective_met": bool(ok.all()) and (p99_ms is None or p99_ms <= target.objective_ms),
    }


_QUANTILES = {"50": 0.5, "90": 0.9, "99": 0.99}


def _quantile(values: NDArray[np.float64], share: float) -> float | None:
    """The smallest of the values that so many do not exceed; None if there is none."""
    return float(np.quantile(values, share, method="higher")) if len(values) else None


def totals(points: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The counts of several steps, added up."""
    return {key: sum(point[key] for point in points) for key in _COUNTS}
