"""`make soak`: a mixed load for long, with bad requests and clients that leave.

Does memory grow, do descriptors or threads leak, does p99 drift? The service's process tree is
looked at every few seconds; the load is an open loop at six tenths of what the service takes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.load import observe
from tests.bench.load.charts import draw_samples, figure, svg
from tests.bench.load.costs import fit_line
from tests.bench.load.orders import Record
from tests.bench.load.own import Cores, model_line, place_of
from tests.bench.load.page import Page, markdown_table
from tests.bench.load.report import where
from tests.bench.load.search import Effort, find_highest
from tests.bench.load.step import Demand, Place, record_step, run_step, summarise
from tests.bench.load.targets import SHARES, Target, disturbances, find_targets
from tests.bench.machine import describe_machine
from tests.bench.process import Server
from tests.bench.server import serving

USED = 0.6
"""Of the highest rate of the mix."""
DISTURBED = 0.05
"""Share of requests that are bad, or whose client leaves."""
WARM = 0.2
"""Share of the time after which memory is looked at: caches and arenas have their size by then."""
SLOPE_PERCENT_PER_H = 5.0
DRIFT, DRIFT_MS = 1.25, 2.0
"""p99 of the last third may be this many times the first third's, or so many ms more."""


@dataclass(frozen=True)
class Stay:
    """How long, how often to look, and at which rate; 0: find one."""

    duration_s: float
    sample_s: float
    rate: float


def soak(store: Path, cores: Cores, stay: Stay, folder: Path) -> int:
    """Load a service of our own; write soak.json, soak.md and soak.html; 1 if a verdict failed."""
    with serving(store, cores={cores.server}) as server:
        place = place_of(server, cores)
        models = observe.models(place.host, place.port)
        targets = find_targets(models, {})
        demand = mixed(targets)
        rate = stay.rate or USED * _highest(place, demand)
        samples, record = watch(server, place, demand, rate, stay)
    found = {
        "machine": describe_machine(),
        "models": [model_line(model) for model in models],
        "service": "one worker on one core, the generator on another",
        "rate": rate,
        "duration_s": stay.duration_s,
        "samples": samples,
        "step": summarise(record, demand, rate, stay.duration_s),
        "windows": windows(record, demand, stay),
    }
    found["verdicts"] = verdicts(found)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "soak.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (folder / "soak.md").write_text(f"# A long load\n\n{markdown(found)}\n", encoding="utf-8")
    (folder / "soak.html").write_text(page(found), encoding="utf-8")
    print(markdown(found))
    return 0 if all(verdict["reached"] for verdict in found["verdicts"]) else 1


def mixed(targets: Mapping[str, Target]) -> Demand:
    """The mix, and what disturbs it."""
    usual = [target for name, target in targets.items() if SHARES.get(name)]
    bad = disturbances(targets)
    total = sum(SHARES[target.name] for target in usual)
    shares = [(1 - DISTURBED) * SHARES[target.name] / total for target in usual]
    return Demand([*usual, *bad], [*shares, *([DISTURBED / len(bad)] * len(bad))], "poisson")


def _highest(place: Place, demand: Demand) -> float:
    effort = Effort(resolution=0.15, repeats=1)
    found = find_highest(lambda rate: run_step(place, demand, rate, 4.0), effort, curve=())
    if not found.highest:
        raise SystemExit("the mix does not meet its objectives at any rate on this machine")
    return found.highest


def watch(
    server: Server, place: Place, demand: Demand, rate: float, stay: Stay
) -> tuple[list[dict[str, float]], Record]:
    """Load the service, and look at its processes meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(record_step, place, demand, rate, stay.duration_s)
        samples: list[dict[str, float]] = []
        start_s = time.perf_counter()
        while not loading.done():
            samples.append({"at_s": time.perf_counter() - start_s, **look(server)})
            rest_s = start_s + len(samples) * stay.sample_s - time.perf_counter()
            time.sleep(max(0.0, rest_s))
        return samples, loading.result()


def look(server: Server) -> dict[str, float]:
    """Memory, descriptors and threads of the tree now; connections of clients apart."""
    descriptors = threads = connections = 0
    for process in server.tree():
        with process.oneshot():
            descriptors += process.num_fds()
            threads += process.num_threads()
        connections += sum(
            one.status == "ESTABLISHED" and bool(one.laddr) and one.laddr.port == server.port
            for one in process.net_connections("tcp")
        )
    return {
        "pss_mib": sum(server.pss_mib()),
        "descriptors": descriptors - connections,
        "connections": connections,
        "threads": threads,
    }


def windows(record: Record, demand: Demand, stay: Stay) -> list[dict[str, Any]]:
    """p99 in milliseconds of each target in each stretch of `sample_s`, by when requests were
    due; None where no good answer came.
    """
    found = []
    for begin_s in np.arange(demand.warm_s, demand.warm_s + stay.duration_s, stay.sample_s):
        inside = (record.due_s >= begin_s) & (record.due_s < begin_s + stay.sample_s)
        p99_ms = {
            target.name: _p99_ms(record, inside & (record.kind == index), target)
            for index, target in enumerate(demand.targets)
            if target.expects == 200 and not target.abandon_s
        }
        found.append({"at_s": float(begin_s), "p99_ms": p99_ms})
    return found


def _p99_ms(record: Record, chosen: Any, target: Target) -> float | None:
    good = chosen & (record.status == target.expects)
    ended_s = record.first_s if target.judged == "first" else record.last_s
    values = 1000 * (ended_s - record.due_s)[good]
    values = values[~np.isnan(values)]
    return float(np.quantile(values, 0.99, method="higher")) if len(values) else None


def verdicts(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Memory flat, nothing leaks, p99 steady, nobody failed."""
    warm_s = WARM * found["duration_s"]
    samples = [one for one in found["samples"] if one["at_s"] >= warm_s]
    third = max(1, len(samples) // 3)
    line = fit_line([one["at_s"] / 3600 for one in samples], [one["pss_mib"] for one in samples])
    mean_mib = sum(one["pss_mib"] for one in samples) / len(samples)
    slope = 100 * line.b_s / mean_mib
    judged = [
        _verdict("memory (PSS) of all processes, slope",
                 f"at most {SLOPE_PERCENT_PER_H:g} % an hour",
                 f"{slope:+.2f} % an hour of {mean_mib:.0f} MiB",
                 reached=slope <= SLOPE_PERCENT_PER_H)
    ]  # fmt: skip
    for key, name in (("descriptors", "descriptors, clients' connections apart"),
                      ("threads", "threads")):  # fmt: skip
        first = max(one[key] for one in samples[:third])
        last = min(one[key] for one in samples[-third:])
        judged.append(_verdict(f"{name}, least of the last third",
                               f"at most {first:g}, the most of the first", f"{last:g}",
                               reached=last <= first))  # fmt: skip
    for name in found["windows"][0]["p99_ms"]:
        early, late = _thirds(found["windows"], name, warm_s)
        if early is None or late is None:
            continue
        limit_ms = max(DRIFT * early, early + DRIFT_MS)
        judged.append(_verdict(f"{name}, p99 of the last third", f"at most {limit_ms:.1f} ms; the "
                               f"first third had {early:.1f}", f"{late:.1f} ms",
                               reached=late <= limit_ms))  # fmt: skip
    step = found["step"]
    failed = step["sent"] - step["ok"]
    judged.append(_verdict("requests not answered as they should be", "none",
                           f"{failed} of {step['sent']:,}", reached=failed == 0))  # fmt: skip
    return judged


def _thirds(
    stretches: Sequence[Mapping[str, Any]], name: str, warm_s: float
) -> tuple[float | None, float | None]:
    """Medians of the stretches' p99 in the first and the last third."""
    values = [one["p99_ms"][name] for one in stretches if one["at_s"] >= warm_s]
    known = [value for value in values if value is not None]
    third = len(known) // 3
    if not third:
        return None, None
    return float(np.median(known[:third])), float(np.median(known[-third:]))


def _verdict(what: str, limit: str, measured: str, *, reached: bool) -> dict[str, Any]:
    return {"what": what, "limit": limit, "measured": measured, "reached": bool(reached)}


_HEAD = ("what", "limit", "measured", "reached")


def _rows(found: Mapping[str, Any]) -> list[list[object]]:
    return [[verdict[key] for key in _HEAD] for verdict in found["verdicts"]]


def _told(found: Mapping[str, Any]) -> str:
    return (
        f"{found['duration_s'] / 60:.0f} minutes at {found['rate']:.0f} requests/s, arrivals at "
        f"random, {DISTURBED:.0%} of them bad or from clients that leave; {where(found)}"
    )


def markdown(found: Mapping[str, Any]) -> str:
    """Verdicts, and how they came about."""
    return f"{markdown_table(_HEAD, _rows(found))}\n\n{_told(found)}"


def page(found: Mapping[str, Any]) -> str:
    """The same as HTML, with the samples drawn."""
    made = Page("A long load")
    made.table(_HEAD, _rows(found))
    made.text(_told(found), where=True)
    minutes = [one["at_s"] / 60 for one in found["samples"]]
    pictures = {}
    counted = ("descriptors", "connections", "threads")
    for title, keys, unit in (("memory", ("pss_mib",), "MiB"), ("leaks", counted, "count")):
        drawn, axes = figure()
        draw_samples(axes, minutes, {key: [one[key] for one in found["samples"]] for key in keys},
                     unit)  # fmt: skip
        pictures[title] = svg(drawn)
    drawn, axes = figure()
    stretches = found["windows"]
    draw_samples(
        axes,
        [one["at_s"] / 60 for one in stretches],
        {name: [one["p99_ms"][name] for one in stretches] for name in stretches[0]["p99_ms"]},
        "p99, ms",
    )
    pictures["p99"] = svg(drawn)
    made.charts(pictures)
    return made.render(found)
