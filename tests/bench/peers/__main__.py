"""`python -m tests.bench.peers`: the same graph and bodies behind other servers.

Each server is started, asked whether its answers are right, loaded and stopped, one after the
other; then the next round. Servers and client share all cores.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.classifier import REFERENCE, UnfitModelError, build_store
from tests.bench.machine import describe_machine
from tests.bench.peers.catalogue import CATALOGUE, Peer
from tests.bench.peers.report import last_line, write_report
from tests.bench.peers.visit import Work, WrongAnswerError, visit, visit_triptych
from tests.bench.process import StartError

OURS = "triptych"


def _summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over rounds; a load that failed in one has failed."""
    loads: dict[str, Any] = {}
    for key in rounds[0]["loads"]:
        found = [one["loads"][key] for one in rounds]
        failed = [one for one in found if "error" in one]
        loads[key] = (
            {"error": last_line(failed[0]["error"])}
            if failed
            else {name: median(one[name] for one in found) for name in found[0]}
        )
    return {
        **{name: median(one[name] for one in rounds) for name in ("ready_s", "tree_pss_mib")},
        "loads": loads,
    }


def _build(peer: Peer) -> str:
    """Why it cannot be built; empty if it can."""
    try:
        peer.build()
    except (OSError, subprocess.CalledProcessError) as error:
        return last_line(f"cannot be built: {error}")
    return ""


def main() -> None:
    """Build, measure in rounds, write the report."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description=__doc__)
    parser.add_argument("--model-file", default=REFERENCE, help="an ONNX classifier")
    parser.add_argument("--only", default="", help="peers whose name contains this")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--duration-s", type=float, default=5.0)
    parser.add_argument("--out", type=Path, help="default docs, or reports for a part of it")
    options = parser.parse_args()
    peers = [peer for peer in CATALOGUE if options.only in peer.name]
    about = {peer.name: {"version": peer.version(), "settings": peer.settings} for peer in peers}
    about[OURS] = {"version": f"{OURS}=={version(OURS)}", "settings": "one worker, its defaults"}
    errors = {peer.name: reason for peer in peers if (reason := _build(peer))}
    rounds: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "models"
        try:
            name = build_store(options.model_file, store)
        except UnfitModelError as error:
            raise SystemExit(f"{options.model_file}: {error}") from error
        work = Work.of(store, name)
        visits: dict[str, Callable[[], dict[str, Any]]] = {
            OURS: lambda: visit_triptych(store, name, work, options.duration_s)
        }
        for peer in peers:
            visits[peer.name] = lambda peer=peer: visit(peer, work, options.duration_s)
        for _ in range(options.rounds):
            for server, go in visits.items():
                if server in errors:
                    continue
                try:
                    rounds.setdefault(server, []).append(go())
                except (StartError, WrongAnswerError, OSError) as error:
                    errors[server] = last_line(str(error))
                print(server, errors.get(server) or rounds[server][-1], file=sys.stderr)
    report = {
        "machine": describe_machine(),
        "model": name,
        "rounds": options.rounds,
        "duration_s": options.duration_s,
        "peers": [
            {
                "name": server,
                **about[server],
                **({"error": errors[server]} if server in errors else _summary(rounds[server])),
            }
            for server in visits
        ],
    }
    part = options.only or options.model_file != REFERENCE
    write_report(report, options.out or Path("reports/peers" if part else "docs"))


if __name__ == "__main__":
    main()
