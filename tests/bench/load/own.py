"""`make capacity`: a service of our own on one core, loaded from another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.settings import Settings
from tests.bench.load import observe
from tests.bench.load.capacity import RANDOM, Bounded, Plan, compare_with_queue, measure, overload
from tests.bench.load.costs import ROUNDS, ROWS, cost_of
from tests.bench.load.step import Place
from tests.bench.load.targets import Target, find_targets
from tests.bench.machine import describe_machine, others_cpu_s
from tests.bench.process import Server
from tests.bench.rounds import run_pinned
from tests.bench.server import serving


@dataclass(frozen=True)
class Cores:
    """Where the service runs, and where the generator."""

    server: int
    client: int


def measure_own(
    store: Path,
    cores: Cores,
    plan: Plan,
    objectives_ms: Mapping[str, float],
    *,
    cost_rounds: int = ROUNDS,
) -> dict[str, Any]:
    """The whole report of `make capacity`, as plain values.

    The overload is measured of the service as it comes, and of another whose queue is bounded by
    the objective (`TRIPTYCH_MAX_QUEUE_MS`); each is idle while the other is loaded.
    """
    with ExitStack() as stack:
        server = stack.enter_context(serving(store, cores={cores.server}))
        place = place_of(server, cores)
        models = observe.models(place.host, place.port)
        targets = find_targets(models, objectives_ms)
        found = measure(place, targets, plan, lambda: others_cpu_s(server.cpu_s()))
        beyond = _overload(stack, store, cores, place, targets, found["endpoints"], plan)
    costs = [_cost(store, model, found["seen"], cores, cost_rounds) for model in models]
    return {
        "machine": describe_machine(),
        "models": [model_line(model) for model in models],
        "service": "one worker on one core, the generator on another",
        "settings": limits(Settings()),
        "step_s": plan.step_s,
        "repeats": plan.effort.repeats,
        **found,
        "overload": beyond,
        "costs": costs,
        "queueing": _queueing(found["endpoints"], costs),
    }


def overload_again(
    store: Path,
    cores: Cores,
    plan: Plan,
    objectives_ms: Mapping[str, float],
    report: Mapping[str, Any],
) -> dict[str, Any]:
    """The report with its overload measured anew, at the rates that it has."""
    with ExitStack() as stack:
        server = stack.enter_context(serving(store, cores={cores.server}))
        place = place_of(server, cores)
        targets = find_targets(observe.models(place.host, place.port), objectives_ms)
        beyond = _overload(stack, store, cores, place, targets, report["endpoints"], plan)
    return {**report, "overload": beyond}


def _overload(
    stack: ExitStack,
    store: Path,
    cores: Cores,
    place: Place,
    targets: Mapping[str, Target],
    endpoints: list[dict[str, Any]],
    plan: Plan,
) -> list[dict[str, Any]]:
    """Of the service at `place`, and of another that is started beside it."""
    defaults = limits(Settings())
    queue_ms = tight_ms(target.objective_ms for target in targets.values())
    asked = {"TRIPTYCH_MAX_QUEUE_MS": f"{queue_ms:g}"}
    tight = stack.enter_context(serving(store, cores={cores.server}, settings=asked))
    services = [
        Bounded("as it comes", place, defaults),
        Bounded(f"TRIPTYCH_MAX_QUEUE_MS={queue_ms:g}", place_of(tight, cores),
                {**defaults, "max_queue_ms": queue_ms}),
    ]  # fmt: skip
    return overload(services, targets, endpoints, plan)


def place_of(server: Server, cores: Cores) -> Place:
    """Where it listens, loaded from the client's core."""
    return Place("127.0.0.1", server.port, cores=frozenset({cores.client}))


def limits(settings: Settings) -> dict[str, float]:
    """The settings that bound a queue."""
    names = ("max_queue_rows", "max_queue_ms", "max_batch_rows")
    return {name: float(getattr(settings, name)) for name in names}


def tight_ms(objectives_ms: Iterable[float]) -> float:
    """A queue's limit for the tightest objective: half of it, the rest is for the run."""
    return min(objectives_ms) / 2


def model_line(model: Mapping[str, Any]) -> dict[str, str]:
    """What the report says of a model."""
    return {key: model[key] for key in ("id", "kind", "version", "precision")}


def _cost(
    store: Path, model: Mapping[str, Any], seen: list[dict[str, Any]], cores: Cores, rounds: int
) -> dict[str, Any]:
    asked = {"store": str(store.absolute()), "name": model["id"], "rows": ROWS, "rounds": rounds}
    runs = run_pinned("tests.bench.load.costs", asked, {cores.server})
    mine = [one for one in seen if one["model"] == model["id"]]
    return cost_of({"model": model["id"], "kind": model["kind"], "precision": model["precision"]},
                   runs, mine)  # fmt: skip


def _queueing(endpoints: list[dict[str, Any]], costs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Classify's two curves beside the simulated queue; its batches are as large as were seen."""
    cost = next((one for one in costs if one["kind"] == "cnn"), None)
    found = []
    for endpoint in endpoints:
        if cost and endpoint["name"] in ("classify", RANDOM) and endpoint["most_goodput"]:
            seen = [one["rows"] for one in cost["seen"] if one["endpoint"] == endpoint["name"]]
            largest = max(1, round(max(seen, default=1.0)))
            found.append(compare_with_queue(endpoint, "classify", cost, largest))
    return found
