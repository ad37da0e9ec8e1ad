"""The capacity of one service: each endpoint and a mix, their cost, and what lies beyond."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tests.bench.load import observe
from tests.bench.load.arrivals import arrival_times
from tests.bench.load.overload import FACTOR, judge, queue_bound_ms, together
from tests.bench.load.queueing import beside_run_s, waits
from tests.bench.load.search import CURVE, Effort, Search, find_highest
from tests.bench.load.step import Demand, Place, run_step
from tests.bench.load.targets import SHARES, Target

MIX = "mix"
RANDOM = "classify, arrivals at random"
"""The endpoint that is also measured with Poisson arrivals, and compared with a queue's theory."""
_SIMULATED = 40_000  # arrivals played through the queue


@dataclass(frozen=True)
class Plan:
    """How long each step lasts, and how hard to look.

    Args:
        step_s: of a step that counts.
        quick_s: of one that finds out where to look.
        overload_s: of a step beyond the limit.
        effort: of the search.
        curve: shares of the highest rate at which the curve is measured.
        only: names of endpoints, `mix` among them; empty: all.
        overload_rounds: steps beyond the limit, in turns with the rate of the most goodput.

    """

    step_s: float = 10.0
    quick_s: float = 2.0
    overload_s: float = 5.0
    effort: Effort = field(default_factory=Effort)
    curve: tuple[float, ...] = CURVE
    only: tuple[str, ...] = ()
    overload_rounds: int = 3


def demands(targets: Mapping[str, Target], plan: Plan) -> dict[str, tuple[str, Demand]]:
    """Title and demand of everything that is measured."""
    found = {name: (target.title, Demand([target], [1.0])) for name, target in targets.items()}
    mixed = [target for name, target in targets.items() if SHARES.get(name)]
    if len(mixed) > 1:
        shares = [SHARES[target.name] for target in mixed]
        found[MIX] = ("a mix of them", Demand(mixed, shares))
    if "classify" in targets:
        random = replace(found["classify"][1], arrivals="poisson")
        found[RANDOM] = ("classify, one JPEG, arrivals at random (Poisson)", random)
    if plan.only:
        found = {name: one for name, one in found.items() if name in plan.only}
    return found


def measure(
    place: Place,
    targets: Mapping[str, Target],
    plan: Plan,
    others_cpu_s: Callable[[], float] | None = None,
) -> dict[str, Any]:
    """Search the highest rate of each, with its curve; and what the service said of its batches.

    `others_cpu_s` tells, where that is known, what all else on the machine has used so far.
    """
    endpoints: list[dict[str, Any]] = []
    seen: list[dict[str, Any]] = []
    for name, (title, demand) in demands(targets, plan).items():
        probe = _watched(place, name, demand, plan.step_s, seen, others_cpu_s)
        search = find_highest(
            probe,
            plan.effort,
            quick=lambda rate, demand=demand: run_step(place, demand, rate, plan.quick_s),
            curve=plan.curve,
        )
        endpoints.append(_endpoint(name, title, demand, search))
        print(f"{title}: {search.highest:,.1f} requests/s", file=sys.stderr, flush=True)
    return {"endpoints": endpoints, "seen": seen}


def _watched(
    place: Place,
    name: str,
    demand: Demand,
    duration_s: float,
    seen: list[dict[str, Any]],
    others_cpu_s: Callable[[], float] | None,
) -> Callable[[float], dict[str, Any]]:
    """A probe that also notes what the service's metrics say of the step, and what others did."""

    def probe(rate: float) -> dict[str, Any]:
        before = observe.totals(observe.get(place.host, place.port, "/metrics"))
        start_s, others_s = time.perf_counter(), others_cpu_s() if others_cpu_s else 0.0
        point = run_step(place, demand, rate, duration_s)
        if others_cpu_s:
            wall_s = time.perf_counter() - start_s
            point["other_cores"] = max(0.0, others_cpu_s() - others_s) / wall_s
        after = observe.totals(observe.get(place.host, place.port, "/metrics"))
        for model, runs in observe.between(before, after).items():
            seen.append({"endpoint": name, "rate": rate, "model": model, **runs})
        return point

    return probe


def _endpoint(name: str, title: str, demand: Demand, search: Search) -> dict[str, Any]:
    at_highest = search.confirmed
    p99_ms = {
        target.name: sorted(point["parts"][target.name]["p99_ms"] or 0.0 for point in at_highest)
        for target in demand.targets
    }
    return {
        "name": name,
        "title": title,
        "arrivals": demand.arrivals,
        "objectives_ms": {target.name: target.objective_ms for target in demand.targets},
        "judged": {target.name: target.judged for target in demand.targets},
        "shares": {
            target.name: share / sum(demand.shares)
            for target, share in zip(demand.targets, demand.shares, strict=True)
        },
        "highest": search.highest,
        "bound": search.bound,
        "repeats": len(at_highest),
        "p99_ms": {part: values[len(values) // 2] for part, values in p99_ms.items() if values},
        "most_goodput": max((point["goodput"] for point in search.points), default=0.0),
        "points": search.points,
    }


@dataclass(frozen=True)
class Bounded:
    """A service that is loaded with more than it can do; `settings` are its queue's limits."""

    title: str
    place: Place
    settings: Mapping[str, float]


def overload(
    services: Sequence[Bounded],
    targets: Mapping[str, Target],
    endpoints: Sequence[dict[str, Any]],
    plan: Plan,
) -> list[dict[str, Any]]:
    """Each endpoint alone at twice its highest rate, for each of the services.

    What most was answered per second is measured again, of the first of them, in turns with that:
    a machine's speed drifts by more than what is promised.
    """
    found: dict[str, list[dict[str, Any]]] = {one.title: [] for one in services}
    for endpoint in endpoints:
        target = targets.get(endpoint["name"])
        if target is None or not endpoint["highest"]:
            continue
        demand = Demand([target], [1.0])
        best = max(endpoint["points"], key=lambda point: float(point["goodput"]))
        at_best: list[dict[str, Any]] = []
        beyond: dict[str, list[dict[str, Any]]] = {one.title: [] for one in services}
        for _ in range(plan.overload_rounds):
            at_best.append(run_step(services[0].place, demand, best["rate"], plan.overload_s))
            for one in services:
                beyond[one.title].append(
                    run_step(one.place, demand, FACTOR * endpoint["highest"], plan.overload_s)
                )
        most = together(at_best, target.name)["goodput"]
        for one in services:
            bound_ms = queue_bound_ms(
                max_queue_ms=one.settings["max_queue_ms"],
                max_queue_rows=int(one.settings["max_queue_rows"]),
                most_goodput=most or 1.0,
                objective_ms=target.objective_ms,
            )
            steps = together(beyond[one.title], target.name)
            found[one.title].append(judge(steps, target.name, most_goodput=most, bound_ms=bound_ms))
    return [{"title": one.title, "settings": one.settings, "steps": found[one.title]}
            for one in services]  # fmt: skip


def compare_with_queue(
    endpoint: Mapping[str, Any], name: str, cost: Mapping[str, Any], max_rows: int
) -> dict[str, Any]:
    """The measured curve of an endpoint of one row a request beside the simulated queue's."""
    a_s, b_s = cost["a_ms"] / 1000, cost["b_ms"] / 1000
    beside_s = beside_run_s(endpoint["most_goodput"], a_s=a_s, b_s=b_s, max_rows=max_rows)
    row_s = b_s + beside_s
    rows = []
    for point in endpoint["points"]:
        if not point["objective_met"]:
            continue
        rng = np.random.default_rng(1)
        arrival_s = arrival_times(
            point["rate"], _SIMULATED / point["rate"], endpoint["arrivals"], rng
        )
        latency_s = waits(arrival_s, a_s=a_s, row_s=row_s, max_rows=max_rows)
        part = point["parts"][name]
        rows.append(
            {
                "rate": point["rate"],
                **{f"measured_{key}": part[key] for key in ("p50_ms", "p99_ms")},
                "simulated_p50_ms": 1000 * float(np.quantile(latency_s, 0.5)),
                "simulated_p99_ms": 1000 * float(np.quantile(latency_s, 0.99)),
            }
        )
    return {"endpoint": endpoint["title"], "a_ms": cost["a_ms"], "b_ms": cost["b_ms"],
            "beside_ms": 1000 * beside_s, "max_rows": max_rows, "rows": rows}  # fmt: skip
