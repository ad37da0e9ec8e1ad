"""`python -m tests.bench.load`: what a service takes.

run       an open loop against a running service: the highest rate within an objective
capacity  the same against a service of our own, with costs, queueing and overload
advise    replicas for a rate, from a report
soak      a mixed load for long: does memory grow, do descriptors leak, does p99 drift
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.bench.load import capacity, costs, observe, own, report
from tests.bench.load.advice import UTILISATION, advise, highest_within
from tests.bench.load.search import Effort
from tests.bench.load.soak import Stay, soak
from tests.bench.load.step import Place
from tests.bench.load.targets import find_targets
from tests.bench.machine import describe_machine

_P99 = "p99="


def _objective(text: str) -> tuple[str, float]:
    """`classify=50` or `classify=p99=50ms`."""
    name, _, value = text.partition("=")
    return name, _p99_ms(value)


def _p99_ms(text: str) -> float:
    """`p99=50ms`, `50ms` or `50`."""
    value = float(text.removeprefix(_P99).removesuffix("ms"))
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="against a running service")
    run.add_argument("--host", default="127.0.0.1")
    run.add_argument("--port", type=int, default=3000)
    run.add_argument("--connections", type=int, default=2048)
    own_ = commands.add_parser("capacity", help="against a service of our own")
    for one in (run, own_):
        one.add_argument("--step-s", type=float, default=10.0)
        one.add_argument("--quick-s", type=float, default=2.0)
        one.add_argument("--overload-s", type=float, default=5.0)
        one.add_argument("--repeats", type=int, default=3)
        one.add_argument("--only", nargs="*", default=[], help="endpoints, and mix")
        one.add_argument("--objective", type=_objective, action="append", default=[],
                         metavar="ENDPOINT=MS", help="the p99 asked for")  # fmt: skip
    run.add_argument("--out", type=Path, default=Path("reports"))
    own_.add_argument("--out", type=Path, default=Path("docs"))
    own_.add_argument("--overload-again", action="store_true",
                      help="the overload alone, at the rates of the report in --out")  # fmt: skip
    soak_ = commands.add_parser("soak", help="a mixed load for long")
    soak_.add_argument("--duration-s", type=float, default=1800.0)
    soak_.add_argument("--sample-s", type=float, default=10.0)
    soak_.add_argument("--rate", type=float, default=0.0,
                       help="requests per second; 0: six tenths of what it takes")  # fmt: skip
    soak_.add_argument("--out", type=Path, default=Path("docs"))
    for one in (own_, soak_):
        one.add_argument("--store", type=Path, default=Path("models"))
        one.add_argument("--server-core", type=int, default=0)
        one.add_argument("--client-core", type=int, default=1)
    advise_ = commands.add_parser("advise", help="replicas for a rate")
    advise_.add_argument("--report", type=Path, default=Path("docs/capacity.json"))
    advise_.add_argument("--rate", type=float, required=True, help="requests per second")
    advise_.add_argument("--endpoint", default="classify")
    advise_.add_argument("--objective", type=_p99_ms, default=None, metavar="p99=50ms")
    advise_.add_argument("--utilisation", type=float, default=UTILISATION)
    return parser


def _plan(options: argparse.Namespace) -> capacity.Plan:
    return capacity.Plan(
        options.step_s,
        options.quick_s,
        options.overload_s,
        Effort(repeats=options.repeats),
        only=tuple(options.only),
    )


def _run(options: argparse.Namespace) -> int:
    """Against a running service; its costs are fitted to what its own metrics say."""
    place = Place(options.host, options.port, options.connections)
    models = observe.models(place.host, place.port)
    targets = find_targets(models, dict(options.objective))
    plan = _plan(options)
    found = capacity.measure(place, targets, plan)
    fitted = []
    for model in models:
        mine = [one for one in found["seen"] if one["model"] == model["id"]]
        if len({round(one["rows"], 3) for one in mine}) > 1:
            line = {"model": model["id"], "kind": model["kind"], "precision": model["precision"]}
            fitted.append(costs.cost_of(line, {}, mine))
    report.write(
        {
            "machine": describe_machine(),
            "models": [own.model_line(model) for model in models],
            "service": f"at {place.host}:{place.port}, as it was found",
            "settings": {},
            "step_s": plan.step_s,
            "repeats": plan.effort.repeats,
            **found,
            "overload": [],
            "costs": fitted,
            "queueing": [],
        },
        options.out,
        "open-loop",
    )
    return 0 if all(one["highest"] for one in found["endpoints"]) else 1


def _capacity(options: argparse.Namespace) -> int:
    cores = own.Cores(options.server_core, options.client_core)
    asked = (options.store, cores, _plan(options), dict(options.objective))
    if options.overload_again:
        before = json.loads((options.out / "capacity.json").read_text())
        found = own.overload_again(*asked, before)
    else:
        found = own.measure_own(*asked)
    report.write(found, options.out, "capacity")
    return 0


def _advise(options: argparse.Namespace) -> int:
    found = json.loads(options.report.read_text(encoding="utf-8"))
    endpoints = {one["name"]: one for one in found["endpoints"]}
    endpoint = endpoints.get(options.endpoint)
    if endpoint is None:
        raise SystemExit(f"there is no {options.endpoint!r}; there is {', '.join(endpoints)}")
    try:
        highest, how = _highest(endpoint, options.objective)
        advice = advise(options.rate, highest, options.utilisation)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    print(
        f"{advice.replicas} replicas of one core = ceil({advice.rate:g} / ({advice.utilisation:g} "
        f"x {advice.highest:.1f})), {how}. Each then answers {advice.each:.1f} requests/s, "
        f"{advice.each / advice.highest:.0%} of that; with one of them away "
        f"{min(advice.without_one, 99):.0%}."
    )
    return 0


def _highest(endpoint: Mapping[str, Any], p99_ms: float | None) -> tuple[float, str]:
    objectives_ms = endpoint["objectives_ms"]
    if p99_ms is None or list(objectives_ms.values()) == [p99_ms]:
        told = ", ".join(f"{value:g} ms" for value in objectives_ms.values())
        return endpoint["highest"], f"where the highest rate was measured for a p99 of {told}"
    if len(objectives_ms) > 1:
        raise ValueError("a mix has an objective for each of its parts; leave out --objective")
    (name,) = objectives_ms
    return (
        highest_within(endpoint["points"], name, p99_ms),
        f"where the highest rate is read from the curve for a p99 of {p99_ms:g} ms",
    )


def _soak(options: argparse.Namespace) -> int:
    stay = Stay(options.duration_s, options.sample_s, options.rate)
    cores = own.Cores(options.server_core, options.client_core)
    return soak(options.store, cores, stay, options.out)


def main() -> int:
    """Run a command."""
    options = _parser().parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    commands = {"run": _run, "capacity": _capacity, "advise": _advise, "soak": _soak}
    return commands[options.command](options)


if __name__ == "__main__":
    raise SystemExit(main())
