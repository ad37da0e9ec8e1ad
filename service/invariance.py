"""Whether a row's bits depend on who else is in its batch: proven on this machine, at load.

Random rows are run together and then again in smaller companies; every output must agree in every
bit. It warms the session up at the same time, so that no request pays for first-run allocations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from service.session import Arrays, Session, Specs

_COMPANIES = ((0, 1), (1, 3), (3, 10))
"""Rows [first, last) that are run again by themselves: 1, 2 and 7 of them."""
_LENGTHS = (1, 4)
"""Sizes tried for dynamic axes other than the batch's."""


@dataclass(frozen=True)
class Invariance:
    """What was found. `batches` are the batch sizes that were compared."""

    holds: bool
    batches: tuple[int, ...]
    differing: tuple[str, ...] = ()
    """Outputs that differed."""


def warm(session: Session, high: dict[str, int], rows: tuple[int, ...]) -> Invariance:
    """Run the session at every batch size of `rows`; compare rows of the largest.

    Args:
        session: the graph.
        high: exclusive bounds of integer inputs.
        rows: batch sizes to warm up.

    """
    free = {axis for _, shape in session.inputs.values() for axis in shape if axis != "N"}
    lengths = _LENGTHS if any(isinstance(axis, str) for axis in free) else _LENGTHS[:1]
    differing: set[str] = set()
    batches: set[int] = set()
    rng = np.random.default_rng(0)
    for length in lengths:
        axes = {axis: length for axis in free if isinstance(axis, str)}
        for size in sorted(rows):
            inputs = random_arrays(session.inputs, {**axes, "N": size}, rng, high)
            together = session.run(inputs)
            if size != max(rows):
                continue
            batches.add(size)
            for first, last in _COMPANIES:
                if last <= size:
                    differing |= _differing(session, inputs, together, slice(first, last))
                    batches.add(last - first)
    return Invariance(not differing, tuple(sorted(batches)), tuple(sorted(differing)))


def _differing(session: Session, inputs: Arrays, together: Arrays, part: slice) -> set[str]:
    alone = session.run({name: array[part] for name, array in inputs.items()})
    # Bytes, not values: NaN equals itself and 0.0 is not -0.0.
    return {name for name in alone if alone[name].tobytes() != together[name][part].tobytes()}


def random_arrays(
    specs: Specs,
    axes: Mapping[str, int],
    rng: np.random.Generator,
    high: Mapping[str, int],
) -> Arrays:
    """Draw an array for each tensor: integers in [0, high), float32 from a normal.

    Used to warm a session up at a given batch size; `axes` gives each dynamic axis its size.
    """
    arrays: Arrays = {}
    for name, (dtype, shape) in specs.items():
        size = [axis if isinstance(axis, int) else axes[axis] for axis in shape]
        if dtype == "float32":
            arrays[name] = rng.standard_normal(size, dtype=np.float32)
        else:
            arrays[name] = rng.integers(0, high.get(name, 2), size).astype(dtype)
    return arrays
