"""`python -m tests.bench`: what serving costs beside a bare loop, held against the goals.

The server is pinned to one core and the load generator to another; the bare loop runs on the
server's core. Writes JSON, Markdown and a plot.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

from service.store import Store
from tests.bench.cases import STREAMS, Case, find_cases
from tests.bench.classifier import UnfitModelError, build_store
from tests.bench.goals import judge
from tests.bench.machine import describe_machine
from tests.bench.report import write_report
from tests.bench.rounds import (
    Clock,
    LoadError,
    measure_group,
    measure_newcomers,
    measure_workers,
)
from tests.bench.server import serving

WORKERS_LOAD = "classify@64"


def _starts(store: Path, clock: Clock) -> dict[str, Any]:
    """Time to readiness, and memory of a fresh, warm server."""
    ready_s, fresh_mib = [], []
    for _ in range(clock.rounds):
        with serving(store, cores={clock.server_core}) as server:
            ready_s.append(server.ready_s)
            fresh_mib.append(server.pss_mib()[0])
    return {
        "models": len(Store(store).names()),
        "starts": clock.rounds,
        "ready_s": median(ready_s),
        "fresh_pss_mib": median(fresh_mib),
    }


def _tried(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return measure()
    except LoadError as error:
        return {"error": str(error)}


def measure(store: Path, clock: Clock, only: str) -> dict[str, Any]:
    """Everything whose key contains `only`, as a report without its goals."""
    cases = find_cases(Store(store))
    wanted = [case for case in cases if only in case.key]
    report: dict[str, Any] = {
        "machine": describe_machine(),
        "models": Store(store).names(),
        "rounds": clock.rounds,
        "duration_s": clock.duration_s,
        "results": [],
    }
    with serving(store, cores={clock.server_core}) as server:
        for _, group in groupby(wanted, key=lambda case: case.limit):
            for result in measure_group(list(group), server, clock):
                print(result, file=sys.stderr)
                report["results"].append(result)
        after_mib = server.pss_mib()
        if only in "newcomers" and any(case.load == "stream" for case in cases):
            report["newcomers"] = _tried(lambda: measure_newcomers(server, STREAMS - 1, clock))
    if only in "service":
        report["service"] = _starts(store, clock)
        report["service"]["worker_pss_mib"] = after_mib[0]
        report["service"]["tree_pss_mib"] = sum(after_mib)
    workers_case = _named(cases, WORKERS_LOAD)
    if only in "workers" and workers_case is not None:
        report["workers"] = _tried(lambda: measure_workers(workers_case, store, clock))
    return report


def _named(cases: list[Case], key: str) -> Case | None:
    return next((case for case in cases if case.key == key), None)


def main() -> None:
    """Measure, judge, and write the report."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("models"))
    parser.add_argument(
        "--model-file", default="", help="an ONNX classifier, or `reference`, in place of --store"
    )
    parser.add_argument("--only", default="", help="loads whose name contains this")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--duration-s", type=float, default=5.0)
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--client-core", type=int, default=1)
    parser.add_argument(
        "--out", type=Path, help="folder of the report; default docs, or reports for a part of it"
    )
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # a thousand connections need files
    clock = Clock(options.rounds, options.duration_s, options.server_core, options.client_core)
    with tempfile.TemporaryDirectory() as folder:
        store, out = options.store, Path("docs")
        if options.model_file:
            store = Path(folder) / "models"
            try:
                name = build_store(options.model_file, store)
            except UnfitModelError as error:
                raise SystemExit(f"{options.model_file}: {error}") from error
            out = Path("reports") / f"bench-{name}"
        elif options.only:
            out = Path("reports") / "bench"
        report = measure(store, clock, options.only)
    report["goals"] = [asdict(verdict) for verdict in judge(report)]
    write_report(report, options.out or out)


if __name__ == "__main__":
    main()
