"""Proof of an export: the very session that will serve the graph, against torch.

Every output is compared on fresh random inputs at several batch sizes, and every row must come out
bit for bit the same whatever batch it was in: the service promises that.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch

from service.session import Session
from training.errors import ExportError
from training.kinds.base import Arrays, Export

VARIANT_BATCH_SIZES = (1, 2, 3, 7, 16, 32, 64)
"""For int8 graphs more: integer kernels cut batches into tiles of their own."""
BATCH_SIZES = (1, 2, 7, 64)
"""The least, the least that is a batch, an odd one, and the most that the service puts together."""
GOLDEN_ROWS = 8


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What was found; `max_abs_error` maps each output to its largest difference from torch."""

    batch_sizes: tuple[int, ...]
    max_abs_error: dict[str, float]
    tolerance: dict[str, float]


def verify_graph(export: Export, graph: Path, seed: int) -> Verification:
    """Compare; raises ExportError, naming the output, if one is out of tolerance, of another
    shape or dtype than declared, or depends on the batch.
    """
    session = Session(graph)
    rng = np.random.default_rng(seed)
    errors = {spec.name: 0.0 for spec in export.outputs}
    for rows in BATCH_SIZES:
        inputs = export.draw_inputs(rows, rng)
        outputs = session.run(inputs)
        _check_declared(export, inputs, outputs)
        for name, expected in _run_torch(export, inputs).items():
            difference = np.abs(outputs[name].astype(np.float64) - expected)
            # numpy's maximum keeps a NaN, which Python's would lose.
            errors[name] = float(np.maximum(errors[name], difference.max()))
    for name, error in errors.items():
        if not error <= export.tolerance[name]:
            raise ExportError(
                f"{graph}: output {name!r} differs from torch by {error:.3g}; "
                f"{export.tolerance[name]:g} is allowed"
            )
    _check_rows(export, session, graph, rng, BATCH_SIZES)
    return Verification(
        batch_sizes=BATCH_SIZES, max_abs_error=errors, tolerance=dict(export.tolerance)
    )


def verify_variant(export: Export, graph: Path, reference: Path, seed: int) -> dict[str, float]:
    """Prove another form of a verified graph: tensors as declared, rows bit-identical in every
    batch; returns the largest absolute difference of each output from `reference`.

    How good the form is, its score tells; here nothing is too far. Raises ExportError.
    """
    session, rng = Session(graph), np.random.default_rng(seed)
    inputs = export.draw_inputs(max(BATCH_SIZES), rng)
    outputs, expected = session.run(inputs), Session(reference).run(inputs)
    _check_declared(export, inputs, outputs)
    _check_rows(export, session, graph, rng, VARIANT_BATCH_SIZES)
    moved: dict[str, float] = {}
    for spec in export.outputs:
        difference = np.abs(outputs[spec.name].astype(np.float64) - expected[spec.name])
        moved[spec.name] = float(difference.max())
        if not np.isfinite(moved[spec.name]):
            raise ExportError(f"{graph}: output {spec.name!r} is not a number somewhere")
    return moved


def write_golden(export: Export, graph: Path, path: Path, seed: int) -> None:
    """Write inputs drawn at random, and the outputs of the session that serves, for `GOLDEN_ROWS`
    rows: what a loaded graph must reproduce.
    """
    inputs = export.draw_inputs(GOLDEN_ROWS, np.random.default_rng(seed))
    outputs = Session(graph).run(inputs)
    arrays = {f"input.{name}": array for name, array in inputs.items()}
    arrays |= {f"output.{name}": array for name, array in outputs.items()}
    np.savez_compressed(path, allow_pickle=False, **arrays)


@torch.no_grad()
def _run_torch(export: Export, inputs: Arrays) -> Arrays:
    result = export.module(*(torch.from_numpy(inputs[spec.name]) for spec in export.inputs))
    tensors = result if isinstance(result, tuple) else (result,)
    return {spec.name: tensor.numpy() for spec, tensor in zip(export.outputs, tensors, strict=True)}


def _check_declared(export: Export, inputs: Arrays, outputs: Arrays) -> None:
    """Dtypes and shapes as the contract says, dynamic axes equal wherever they are named."""
    axes: dict[str, int] = {}
    arrays = {**inputs, **outputs}
    for spec in (*export.inputs, *export.outputs):
        found = arrays[spec.name]
        declared = tuple(
            axes.setdefault(axis, size) if isinstance(axis, str) else axis
            for axis, size in zip(spec.shape, found.shape, strict=False)
        )
        if found.shape != declared or len(spec.shape) != found.ndim or found.dtype != spec.dtype:
            raise ExportError(
                f"{spec.name} is {found.dtype} {found.shape}; declared is {spec.dtype} {spec.shape}"
            )


def _check_rows(
    export: Export,
    session: Session,
    graph: Path,
    rng: np.random.Generator,
    batch_sizes: Sequence[int],
) -> None:
    """Bit identity of each row, alone and in every batch size."""
    inputs = export.draw_inputs(max(batch_sizes), rng)
    alone = [
        session.run({name: array[row : row + 1] for name, array in inputs.items()})
        for row in range(max(batch_sizes))
    ]
    for rows in batch_sizes[1:]:
        together = session.run({name: array[:rows] for name, array in inputs.items()})
        for name, array in together.items():
            for row in range(rows):
                if array[row].tobytes() != alone[row][name][0].tobytes():
                    raise ExportError(
                        f"{graph}: row {row} of {name!r} changes with the batch: alone and in a "
                        f"batch of {rows} its bits differ"
                    )
