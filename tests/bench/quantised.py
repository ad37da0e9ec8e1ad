"""The three checks of int8: what it loses, how much faster it is, and that rows do not mix.

    python -m tests.bench.quantised --data FOLDER

For every model of the store whose kind has an int8 form. Where a version was published without
one, it is made now, for the figures alone. Speed is the calling thread's own, both graphs by turns.
Exits 1 if int8 loses more than its kind allows, or a row depends on its batch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from service.contract import GRAPH_FILE, INT8_GRAPH_FILE, Manifest, Precision
from service.invariance import random_arrays
from service.session import Session
from training.config import from_dict
from training.data.locate import locate
from training.kinds import kinds
from training.markdown import table
from training.partners import partner_folder
from training.publish import verified_manifest, version_folder
from training.quantise.timing import rows_per_s
from training.verify import VARIANT_BATCH_SIZES

GOALS = {"cnn": 1.8, "lstm": 2.5}
"""Times as fast as float32, at the batch that the kind is timed in."""
ROWS = (1, 8, 32)
LENGTHS = (1, 16)
"""Characters read at once, where an axis is free."""


@dataclass(frozen=True)
class Checked:
    """What was found of one model."""

    name: str
    metric: str
    float32: float
    int8: float
    lost: float
    most_loss: float
    goal: float
    timed_rows: int
    speedup: Mapping[tuple[int, int], float]
    """By rows and length."""
    mixed: tuple[str, ...]
    """Outputs of which a row changed with its batch."""

    @property
    def sound(self) -> bool:
        return self.lost <= self.most_loss and not self.mixed


def check(store: Path, name: str, data: list[Path], cache_dir: Path) -> Checked | None:
    """None if this model has no int8 form."""
    folder = version_folder(store, name)
    assert folder is not None, f"{store} holds no {name}"
    manifest = verified_manifest(folder)
    kind = kinds()[manifest.kind]
    if kind.int8 is None:
        return None
    demand = kind.int8
    config = from_dict(type(next(iter(kind.presets.values()))), manifest.training.config)
    loaded = kind.load_data(locate(manifest.data, data), cache_dir)
    with TemporaryDirectory() as scratch:
        graphs: dict[Precision, Path] = {
            "float32": folder / GRAPH_FILE,
            "int8": folder / INT8_GRAPH_FILE,
        }
        if not graphs["int8"].exists():
            graphs["int8"] = Path(scratch) / INT8_GRAPH_FILE
            if not kind.quantise(config, loaded, graphs["float32"], graphs["int8"]):
                return None
        partner = partner_folder(store, kind, None)
        found = {
            precision: kind.score(config, loaded, path, partner)[demand.metric]
            for precision, path in graphs.items()
        }
        fell = found["float32"] - found["int8"]
        return Checked(
            name=f"{name} {manifest.version}",
            metric=demand.metric,
            float32=found["float32"],
            int8=found["int8"],
            lost=fell if demand.goal == "max" else -fell,
            most_loss=demand.most_loss,
            goal=GOALS[manifest.kind],
            timed_rows=demand.timed_rows,
            speedup={
                (rows, length): _speedup(graphs, draw(manifest, graphs["int8"], rows, length))
                for length in (LENGTHS if _is_free(manifest) else LENGTHS[:1])
                for rows in ROWS
            },
            mixed=mixed(manifest, graphs["int8"]),
        )


def draw(manifest: Manifest, graph: Path, rows: int, length: int) -> dict[str, Any]:
    """Random inputs."""
    specs = Session(graph).inputs
    free = {axis for _, shape in specs.values() for axis in shape if isinstance(axis, str)}
    high = {
        spec.name: int(spec.maximum) + 1
        for spec in manifest.inputs
        if spec.maximum is not None and spec.dtype != "float32"
    }
    axes = dict.fromkeys(free, length) | {"N": rows}
    return random_arrays(specs, axes, np.random.default_rng(0), high)


def mixed(manifest: Manifest, graph: Path) -> tuple[str, ...]:
    """Outputs of which a row's bits depend on its batch: of 64 rows, in parts of every size."""
    session, differing = Session(graph), set()
    most = max(VARIANT_BATCH_SIZES)
    for length in LENGTHS if _is_free(manifest) else LENGTHS[:1]:
        inputs = draw(manifest, graph, most, length)
        together = session.run(inputs)
        for size in VARIANT_BATCH_SIZES:
            for start in range(0, most - size + 1, size):
                part = slice(start, start + size)
                alone = session.run({name: array[part] for name, array in inputs.items()})
                differing |= {
                    name
                    for name, array in alone.items()
                    if array.tobytes() != together[name][part].tobytes()
                }
    return tuple(sorted(differing))


def _is_free(manifest: Manifest) -> bool:
    shapes = [axis for spec in manifest.inputs for axis in spec.shape]
    return any(isinstance(axis, str) and axis != "N" for axis in shapes)


def _speedup(graphs: Mapping[Precision, Path], inputs: dict[str, Any]) -> float:
    speed = rows_per_s(graphs, inputs)
    return speed["int8"] / speed["float32"]


def render(found: list[Checked]) -> str:
    """Markdown: a table of all models, a row for each of the checks."""
    rows = []
    for one in found:
        loss = f"{one.metric}: {one.float32:.4g} to {one.int8:.4g}"
        allowed = f"at most {one.most_loss:g} lost"
        rows.append((one.name, loss, allowed, "yes" if one.lost <= one.most_loss else "**no**"))
        for (size, length), speedup in one.speedup.items():
            goal = one.goal if (size, length) == (one.timed_rows, 1) else None
            what = f"{size} rows" + (f" of {length}" if length > 1 else "")
            met = "" if goal is None else "yes" if speedup >= goal else "no"
            rows.append(
                (one.name, f"{what}: {speedup:.2f}x as fast", f"{goal:g}x" if goal else "", met)
            )
        sizes = ", ".join(map(str, VARIANT_BATCH_SIZES))
        bits = f"bits differ in {', '.join(one.mixed)}" if one.mixed else "bits the same"
        rows.append((one.name, bits, f"in batches of {sizes}", "**no**" if one.mixed else "yes"))
    return table(("Model", "int8", "Goal", "Met"), rows)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("models"))
    parser.add_argument("--data", type=Path, action="append", default=[])
    parser.add_argument("--cache-dir", type=Path, default=Path("~/.cache/triptych"))
    parser.add_argument("--model", action="append", default=[])
    words = parser.parse_args()
    names = words.model or sorted(path.parent.name for path in words.store.glob("*/CURRENT"))
    cache_dir = words.cache_dir.expanduser()
    found = [check(words.store, name, words.data, cache_dir) for name in names]
    checked = [one for one in found if one is not None]
    print(render(checked))
    return 0 if all(one.sound for one in checked) else 1


if __name__ == "__main__":
    sys.exit(main())
