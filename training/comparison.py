"""The served version beside the candidate: on the same examples, by turns on the same clock.

What the served version is asked are the candidate's own held-out data, whatever data it was fitted
on itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.contract import Manifest, TensorSpec
from service.errors import TriptychError
from training.gate import Beside, Rule
from training.kinds.base import Arrays, Export, Kind
from training.measures.paired import PairedTest, compare_pairs
from training.quantise.timing import seconds
from training.seeds import derive

CEILINGS = MappingProxyType({"time_ratio": 1.5, "size_ratio": 2.0})
"""What a candidate may cost, as multiples of the served version: far outside what a clock or a
retraining moves, so that nobody waits for a model that has become slow unseen."""
OPTIONS = MappingProxyType({"time_ratio": "--allow-slower", "size_ratio": "--allow-larger"})
NOTES = MappingProxyType(
    {
        "time_ratio": "time of a run of one row on one thread, over that of the version before",
        "size_ratio": "bytes of the served graph, over those of the version before",
    }
)


def measure_beside(
    kind: Kind[Any, Any],
    config: Any,
    data: Any,
    plan: Export,
    graph: Path,
    served: Manifest,
    folder: Path,
    judge: Path | None,
) -> Beside:
    """Measure the candidate's `graph` and the graph served from the version folder `folder`.

    A served version that cannot be measured (its file is damaged, say) is no reason to keep it:
    its published figures are compared then, and no costs.
    """
    before = folder / served.graph
    tests, costs, obstacle = {}, {}, ""
    try:
        costs = _costs(plan, graph, served, before)
        obstacle = find_obstacle(kind.fed, plan, served)
        if not obstacle:
            new, old = (kind.examples(config, data, path, judge) for path in (graph, before))
            tests = {rule.metric: _test(rule, new, old, config.fit.seed) for rule in kind.rules}
    except (TriptychError, OSError) as error:
        obstacle = f"{before} cannot be measured: {error}"
    if obstacle:
        obstacle = f"no test on the same examples: {obstacle}"
    return Beside(
        metrics=served.metrics,
        tests=tests,
        costs=costs,
        ways_out={name: f"{option} FACTOR would allow it" for name, option in OPTIONS.items()},
        obstacle=obstacle,
    )


def find_obstacle(fed: Sequence[str], plan: Export, served: Manifest) -> str:
    """Why the two cannot answer the same examples, in words; empty if they can."""
    if plan.labels != served.labels:
        return "the served version has other classes"
    if plan.vocabulary != served.vocabulary:
        return "the served version has another vocabulary"
    new, old = ({spec.name: spec.shape for spec in side.inputs} for side in (plan, served))
    for name in fed:
        if new.get(name) != old.get(name):
            return f"the served version reads {name} of another shape"
    return ""


def draw(specs: Sequence[TensorSpec], seed: int) -> Arrays:
    """One row of random inputs as the specs allow, every dynamic axis cut to 1."""
    rng = np.random.default_rng(seed)
    return {spec.name: _draw(spec, rng) for spec in specs}


def _draw(spec: TensorSpec, rng: np.random.Generator) -> NDArray[Any]:
    shape = [1 if isinstance(axis, str) else axis for axis in spec.shape]
    if spec.dtype == "float32":
        return rng.standard_normal(shape, dtype=np.float32)
    low, high = int(spec.minimum or 0), int(spec.maximum or 0)
    return rng.integers(low, high, shape, endpoint=True).astype(spec.dtype)


def _costs(plan: Export, graph: Path, served: Manifest, before: Path) -> dict[str, float]:
    taken_s = seconds(
        {"new": (graph, draw(plan.inputs, 0)), "old": (before, draw(served.inputs, 0))}
    )
    return {
        "time_ratio": taken_s["new"] / taken_s["old"],
        "size_ratio": graph.stat().st_size / before.stat().st_size,
    }


def _test(rule: Rule, new: Arrays, old: Arrays, seed: int) -> PairedTest:
    return compare_pairs(
        new[rule.metric],
        old[rule.metric],
        more_is_better=rule.goal == "max",
        seed=derive(seed, "gate", rule.metric),
    )
