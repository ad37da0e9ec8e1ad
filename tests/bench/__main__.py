"""`python -m tests.bench`: throughput, latency and CPU cost over HTTP beside the bare loop.

The server is pinned to one core and the load generator to another; the bare loop runs on the
server's core. Rounds are interleaved (bare, HTTP, bare, HTTP...), and medians are reported, so
that a noisy machine disturbs both alike. Writes JSON and a plot.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from service.store import Store
from tests.bench.bodies import sample_jpeg
from tests.bench.machine import describe_machine
from tests.bench.report import write_report
from tests.bench.server import Server, serving

TEXT_CHARS = 200
PICTURES = 16


@dataclass(frozen=True)
class Case:
    """One line of the report: a load over HTTP, and the bare loop that bounds it."""

    title: str
    unit: str
    path: str
    content_type: str
    body: bytes
    connections: int
    units_per_request: int
    bare: str
    bare_rows: int


def cases(store: Store) -> list[Case]:
    """The loads."""
    jpeg = sample_jpeg(store)
    prompt = {"prompt": "ROMEO:", "max_tokens": TEXT_CHARS, "seed": 1}
    text = json.dumps(prompt).encode()
    stream = json.dumps({**prompt, "stream": True}).encode()
    pictures = json.dumps({"n": PICTURES, "seed": 1}).encode()
    found = [
        Case("classify, one JPEG a request", "images", "/v1/classify", "image/jpeg", jpeg,
             connections, 1, "classify", 64)
        for connections in (1, 16, 64)
    ]  # fmt: skip
    found += [
        Case(title, "characters", "/v1/completions", "application/json", body, connections,
             TEXT_CHARS, "write", connections)
        for title, body in (("completions, whole", text), ("completions, streamed", stream))
        for connections in (1, 32)
    ]  # fmt: skip
    found += [
        Case(f"sample, {PICTURES} pictures as PNG", "images", "/v1/sample", "application/json",
             pictures, connections, PICTURES, "draw", PICTURES)
        for connections in (1, 8)
    ]  # fmt: skip
    return found


@dataclass(frozen=True)
class Result:
    """Medians over rounds. Rates per second; CPU-seconds per 1,000 units; latency of a request."""

    title: str
    unit: str
    connections: int
    rate: float
    cpu_s_per_1000: float
    p50_ms: float
    p99_ms: float
    bare_rate: float
    bare_cpu_s_per_1000: float
    requests: int


def _pinned(command: list[str], core: int, stdin: bytes = b"") -> dict[str, object]:
    done = subprocess.run(
        command,
        input=stdin,
        stdout=subprocess.PIPE,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # no threads yet
    )
    result: dict[str, object] = json.loads(done.stdout)
    return result


def _bare(case: Case, store: Path, duration_s: float, core: int) -> dict[str, object]:
    arguments = [case.bare, str(case.bare_rows), str(store), str(duration_s)]
    return _pinned([sys.executable, "-m", "tests.bench.bare", *arguments], core)


def _http(case: Case, server: Server, duration_s: float, core: int) -> dict[str, object]:
    head = {
        "port": server.port,
        "load": {
            "path": case.path,
            "content_type": case.content_type,
            "connections": case.connections,
            "duration_s": duration_s,
        },
    }
    cpu_s = server.cpu_s()
    stdin = json.dumps(head).encode() + b"\n" + case.body
    result = _pinned([sys.executable, "-m", "tests.bench.client"], core, stdin)
    if result["failed"]:
        raise SystemExit(f"{case.title}: {result['failed']} requests failed")
    return {**result, "cpu_s": server.cpu_s() - cpu_s}


def measure(case: Case, server: Server, store: Path, options: argparse.Namespace) -> Result:
    """Interleave rounds of the bare loop and of HTTP; take medians."""
    rates, costs, p50s, p99s, bare_rates, bare_costs = ([] for _ in range(6))  # type: ignore[var-annotated]
    requests = 0
    _http(case, server, 1.0, options.client_core)  # warm
    for _ in range(options.rounds):
        bare = _bare(case, store, options.duration_s, options.server_core)
        units, elapsed_s, cpu_s = bare["units"], bare["elapsed_s"], bare["cpu_s"]
        bare_rates.append(units / elapsed_s)  # type: ignore[operator]
        bare_costs.append(1000 * cpu_s / units)  # type: ignore[operator]
        http = _http(case, server, options.duration_s, options.client_core)
        latencies_s = np.array(http["latencies_s"])
        units = len(latencies_s) * case.units_per_request
        rates.append(units / http["elapsed_s"])  # type: ignore[operator]
        costs.append(1000 * http["cpu_s"] / units)  # type: ignore[operator]
        p50s.append(1000 * float(np.quantile(latencies_s, 0.5)))
        p99s.append(1000 * float(np.quantile(latencies_s, 0.99)))
        requests += len(latencies_s)
    medians = map(statistics.median, (rates, costs, p50s, p99s, bare_rates, bare_costs))
    return Result(case.title, case.unit, case.connections, *medians, requests)


def main() -> None:
    """Measure everything and write the report."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("models"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--duration-s", type=float, default=5.0)
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--client-core", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    store = Store(options.store)
    with serving(options.store, cores={options.server_core}) as server:
        results = []
        for case in cases(store):
            results.append(measure(case, server, options.store, options))
            print(results[-1], file=sys.stderr)
        process = {
            "ready_s": server.ready_s,
            "worker_pss_mib": server.worker_pss_mib(),
        }
    report = {
        "machine": describe_machine(),
        "rounds": options.rounds,
        "duration_s": options.duration_s,
        "service": process,
        "results": [asdict(result) for result in results],
    }
    write_report(report, options.out)


if __name__ == "__main__":
    main()
