"""Interleaved rounds: the bare loop, each load over HTTP, the bare loop again...

A noisy machine then disturbs both alike. Ratios are taken within a round, and of everything the
median over the rounds is reported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tests.bench.cases import Case, Limit
from tests.bench.client import Load
from tests.bench.machine import children_cpu_s, machine_cpu_s
from tests.bench.process import Server
from tests.bench.server import serving

WARM_S = 1.0
FIGURES = (
    "rate",
    "cpu_s_per_1000",
    "p50_ms",
    "p99_ms",
    "client_cores",
    "server_cores",
    "other_cores",
)


class LoadError(RuntimeError):
    """A load whose requests were not all answered as they should be."""


@dataclass(frozen=True)
class Clock:
    """How long and where: `rounds` of `duration_s`, server and client on their own cores."""

    rounds: int
    duration_s: float
    server_core: int
    client_core: int


def run_pinned(
    module: str, asked: dict[str, Any], cores: set[int], body: bytes = b""
) -> dict[str, Any]:
    """Run a module of the bench in a process of its own on the given cores."""
    done = subprocess.run(
        [sys.executable, "-m", module],
        input=json.dumps(asked).encode() + b"\n" + body,
        stdout=subprocess.PIPE,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: os.sched_setaffinity(0, cores),  # no threads yet
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def run_bare(loop: str, limit: Limit, clock: Clock) -> dict[str, float]:
    """One round of a bare loop: rate and CPU-seconds per 1,000 units."""
    asked = {
        "loop": loop,
        "graph": str(limit.graph),
        "rows": limit.rows,
        "duration_s": clock.duration_s,
    }
    found = run_pinned("tests.bench.bare", asked, {clock.server_core}, limit.body)
    return {
        "rate": found["units"] / found["elapsed_s"],
        "cpu_s_per_1000": 1000 * found["cpu_s"] / found["units"],
    }


def run_load(load: Load, units_per_request: int, server: Server, cores: set[int]) -> dict[str, Any]:
    """One round over HTTP, the client on `cores`; raises LoadError if a request failed."""
    asked = {"port": server.port, "load": {**asdict(load), "body": None}}
    cpu_s, machine_s, client_s = server.cpu_s(), machine_cpu_s(), children_cpu_s()
    start_s = time.perf_counter()
    found = run_pinned("tests.bench.client", asked, cores, load.body)
    wall_s = time.perf_counter() - start_s
    cpu_s = server.cpu_s() - cpu_s
    other_s = machine_cpu_s() - machine_s - cpu_s - (children_cpu_s() - client_s)
    if found["failed"]:
        raise LoadError(f"{found['failed']} requests failed, the first with {found['failure']}")
    latencies_s = np.array(found["latencies_s"])
    units = len(latencies_s) * units_per_request
    return {
        "rate": units / found["elapsed_s"],
        "cpu_s_per_1000": 1000 * cpu_s / units,
        "p50_ms": 1000 * float(np.quantile(latencies_s, 0.5)),
        "p99_ms": 1000 * float(np.quantile(latencies_s, 0.99)),
        "client_cores": found["cpu_s"] / found["elapsed_s"],
        "server_cores": cpu_s / found["elapsed_s"],
        "other_cores": max(0.0, other_s / wall_s),
        "latencies_s": latencies_s,
    }


def _over_http(case: Case, server: Server, duration_s: float, core: int) -> dict[str, Any]:
    return run_load(case.of(duration_s), case.units_per_request, server, {core})


def measure_group(cases: Sequence[Case], server: Server, clock: Clock) -> list[dict[str, Any]]:
    """Measure cases that share a limit; one that fails is reported with its error."""
    limit = cases[0].limit
    errors: dict[str, str] = {}
    for case in cases:
        try:
            _over_http(case, server, min(WARM_S, clock.duration_s), clock.client_core)
        except LoadError as error:
            errors[case.key] = str(error)
    bare: dict[str, list[dict[str, float]]] = {loop: [] for loop in limit.loops}
    http: dict[str, list[dict[str, Any]]] = {case.key: [] for case in cases}
    for _ in range(clock.rounds if len(errors) < len(cases) else 0):
        for loop in limit.loops:
            bare[loop].append(run_bare(loop, limit, clock))
        for case in cases:
            if case.key in errors:
                continue
            try:
                http[case.key].append(_over_http(case, server, clock.duration_s, clock.client_core))
            except LoadError as error:
                errors[case.key] = str(error)
    results = []
    for case in cases:
        if case.key in errors:
            head = {"key": case.key, "title": case.title, "connections": case.connections}
            results.append({**head, "error": errors[case.key]})
        else:
            results.append(_summary(case, http[case.key], bare))
    return results


def _summary(
    case: Case, http: list[dict[str, Any]], bare: dict[str, list[dict[str, float]]]
) -> dict[str, Any]:
    first = bare[case.limit.loops[0]]
    every_s = np.concatenate([found["latencies_s"] for found in http])
    pairs = list(zip(http, first, strict=True))
    return {
        "key": case.key,
        "title": case.title,
        "unit": case.unit,
        "connections": case.connections,
        **{name: median(found[name] for found in http) for name in FIGURES},
        "p999_ms": 1000 * float(np.quantile(every_s, 0.999)),
        "requests": len(every_s),
        "bare": {
            loop: {name: median(one[name] for one in found) for name in found[0]}
            for loop, found in bare.items()
        },
        "share": median(over["rate"] / under["rate"] for over, under in pairs),
        "shares": {
            loop: median(h["rate"] / b["rate"] for h, b in zip(http, found, strict=True))
            for loop, found in bare.items()
        },
        "cpu_ratio": median(o["cpu_s_per_1000"] / u["cpu_s_per_1000"] for o, u in pairs),
    }


def measure_newcomers(server: Server, streams: int, clock: Clock) -> dict[str, Any]:
    """A new stream's wait for its first character, in steps of the running batch."""
    asked = {"port": server.port, "streams": streams, "duration_s": clock.duration_s}
    rounds = []
    waits: list[float] = []
    for _ in range(clock.rounds):
        found = run_pinned("tests.bench.newcomers", asked, {clock.client_core})
        if found["failed"]:
            raise LoadError(f"{found['failed']} streams failed, the first with {found['failure']}")
        steps = np.array(found["waits_s"]) / found["step_s"]
        waits += steps.tolist()
        quantiles = float(np.median(steps)), float(np.quantile(steps, 0.99))
        rounds.append((found["step_s"], found["alone_s"], *quantiles))
    columns = zip(*rounds, strict=True)
    step_s, alone_s, median_steps, p99_steps = (median(column) for column in columns)
    return {
        "streams": streams,
        "newcomers": len(waits),
        "step_ms": 1000 * step_s,
        "alone_ms": 1000 * alone_s,
        "median_steps": median_steps,
        "p99_steps": p99_steps,
    }


def measure_workers(case: Case, store: Path, clock: Clock) -> dict[str, Any]:
    """One worker on one core, two workers on two: rates and CPU of the same load.

    The client needs a core too. With one worker it has the other; with two workers it takes its
    share from theirs. `scaling` is what two workers' rate would be on the cores that the client
    leaves, brought up to two, against one worker's.
    """
    server, client = clock.server_core, clock.client_core
    found: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
    with (
        serving(store, cores={server}) as one,
        serving(store, cores={server, client}, workers=2) as two,
    ):
        for running in (one, two):
            _over_http(case, running, WARM_S, client)
        for _ in range(clock.rounds):
            found[1].append(_over_http(case, one, clock.duration_s, client))
            found[2].append(_over_http(case, two, clock.duration_s, client))
        pss_mib = two.pss_mib()[:2]
    pairs = list(zip(found[1], found[2], strict=True))
    scaling = [b["rate"] / a["rate"] * 2 / (2 - b["client_cores"]) for a, b in pairs]
    return {
        "connections": case.connections,
        "by_workers": [
            {"workers": n, **{name: median(x[name] for x in rounds) for name in FIGURES}}
            for n, rounds in found.items()
        ],
        "worker_pss_mib": pss_mib,
        "cost_growth": median(b["cpu_s_per_1000"] / a["cpu_s_per_1000"] - 1 for a, b in pairs),
        "scaling": median(scaling),
        "plain_scaling": median(b["rate"] / a["rate"] for a, b in pairs),
    }
