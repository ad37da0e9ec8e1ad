"""`python -m tests.bench.plane`: accuracy against speed, published networks beside the shipped.

Writes docs/plane.json, .md and .png, in about three minutes of a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.bench.machine import describe_machine
from tests.bench.plane.entrants import published_entrants, shipped_entrants
from tests.bench.plane.report import row, write_report
from tests.bench.plane.timing import time_graphs


def main() -> None:
    """Build, time, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.plane", description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("models"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--duration-s", type=float, default=1.0)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        entrants = [*published_entrants(Path(folder)), *shipped_entrants(options.store)]
        for one in entrants:
            print(one, file=sys.stderr)
        timings = time_graphs(
            [one.graph for one in entrants], rounds=options.rounds, duration_s=options.duration_s
        )
        report = {
            "machine": describe_machine(),
            "rounds": options.rounds,
            "duration_s": options.duration_s,
            "entrants": [row(one, time) for one, time in zip(entrants, timings, strict=True)],
        }
    write_report(report, options.out)


if __name__ == "__main__":
    main()
