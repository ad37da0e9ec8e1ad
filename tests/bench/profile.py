"""`python -m tests.bench.profile`: where a worker's time goes, by part of the service.

py-spy samples the worker while a load runs; each sample belongs to the innermost frame of which the
table below knows the part. Threads that wait are left out. Writes `docs/bench-profile.md`, which
`make bench` takes into its report.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from service.store import Store
from tests.bench.cases import Case, find_cases
from tests.bench.process import Server
from tests.bench.rounds import run_load
from tests.bench.server import serving

PARTS = (
    ("onnxruntime", ("onnxruntime/",)),
    ("decoding and encoding pictures", ("simplejpeg", "PIL/", "service/images.py")),
    ("drawing characters", ("service/sampling.py", "service/noise.py")),
    ("steps of the text engine", ("service/block.py", "service/stepper.py", "service/reading.py")),
    ("queue, batches, threads", ("service/batcher.py", "service/waiting.py", "service/lanes.py",
                                 "service/answer.py", "service/admission.py")),
    ("metrics", ("service/metrics.py", "service/tally.py", "prometheus_client/")),
    ("HTTP protocol (uvicorn)", ("uvicorn/",)),
    ("answers, JSON, streams", ("http/answers.py", "http/writing.py", "http/events.py",
                                "http/completions.py", "service/sequences.py")),
    ("the rest of a request", ("service/",)),
    ("event loop", ("asyncio/", "contextlib.py", "uvloop")),
)  # fmt: skip
WAITING = (
    "_worker (concurrent/futures/thread.py:81)",
    "run (anyio/_backends/_asyncio.py",
    "_let_in (service/stepper.py",
    "wait (threading.py",
)
"""Innermost frames of threads that have nothing to do."""
CASES = ("classify@1", "classify@64", "stream@1", "stream@32")
RATE = 400
HEAD = """Samples of the worker's busy threads under each load, by part of the service (py-spy,
{rate} a second for {duration_s:g} s, written by `make profile`; a thread that has given way to
another counts as busy):
"""


def _part(frames: list[str]) -> str:
    for frame in reversed(frames):
        for part, places in PARTS:
            if any(place in frame for place in places):
                return part
    return "other"


def shares(raw: str) -> dict[str, float]:
    """Share of each part in py-spy's raw stacks (`frame;frame;... count`)."""
    counted: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if not any(wait in frames[-1] for wait in WAITING):
            counted[_part(frames)] += int(count)
    total = counted.total()
    return {part: count / total for part, count in counted.items()}


def profile(case: Case, server: Server, duration_s: float, core: int) -> dict[str, float]:
    """Sample the worker while the load runs."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "stacks"
        command = [
            *(str(Path(sys.executable).with_name("py-spy")), "record", "--format", "raw"),
            *("--rate", str(RATE), "--duration", str(round(duration_s)), "--output", str(out)),
            *("--pid", str(_worker(server)), "--nonblocking"),
        ]
        run_load(case.of(1.0), case.units_per_request, server, {core})
        with subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # noqa: PLW1509  # no threads yet
        ) as recording:
            run_load(case.of(duration_s + 1), case.units_per_request, server, {core})
            if recording.wait():
                raise SystemExit("py-spy could not sample the worker; may it trace processes?")
        return shares(out.read_text())


def _worker(server: Server) -> int:
    """The process that holds the models: the largest."""
    return max(server.tree(), key=lambda process: process.memory_info().rss).pid


def table(found: dict[str, dict[str, float]]) -> str:
    """Parts by loads, the largest first."""
    names = [name for name, _ in PARTS] + ["other"]
    names.sort(key=lambda name: -sum(shares.get(name, 0.0) for shares in found.values()))
    lines = [
        "| part | " + " | ".join(found) + " |",
        "| --- |" + " ---: |" * len(found),
    ]
    lines += [
        f"| {name} | " + " | ".join(f"{one.get(name, 0.0):.0%}" for one in found.values()) + " |"
        for name in names
    ]
    return "\n".join(lines)


def main() -> None:
    """Profile each load and write the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.profile", description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("models"))
    parser.add_argument("--duration-s", type=float, default=6.0)
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--client-core", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("docs/bench-profile.md"))
    options = parser.parse_args()
    cases = {case.key: case for case in find_cases(Store(options.store))}
    with serving(options.store, cores={options.server_core}) as server:
        found = {
            key: profile(cases[key], server, options.duration_s, options.client_core)
            for key in CASES
        }
    head = HEAD.format(rate=RATE, duration_s=options.duration_s)
    options.out.write_text(head + "\n" + table(found) + "\n")
    print(options.out.read_text())


if __name__ == "__main__":
    main()
