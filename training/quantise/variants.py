"""The graphs of a candidate: float32, and int8 where the kind has such a form, both measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.contract import (
    GOLDEN_FILE,
    GRAPH_FILE,
    INT8_GOLDEN_FILE,
    INT8_GRAPH_FILE,
    Choice,
    Golden,
    Precision,
    Variant,
    WantedPrecision,
    digest_file,
)
from training.errors import ExportError
from training.kinds.base import Export
from training.quantise.choice import Demand, choose
from training.quantise.timing import rows_per_s
from training.verify import GOLDEN_ROWS, verify_variant, write_golden


class Variants(msgspec.Struct, frozen=True, kw_only=True):
    """`variants.json`; `sha256` says which files were measured."""

    variants: tuple[Variant, ...]
    choice: Choice | None
    sha256: dict[str, str]

    @property
    def served(self) -> Variant:
        """The variant picked."""
        picked = self.choice.picked if self.choice else "float32"
        return next(variant for variant in self.variants if variant.precision == picked)

    def check(self, folder: Path) -> Path:
        """The served graph in the candidate's folder; raises ExportError if a file is another."""
        for file, sha256 in self.sha256.items():
            if not (folder / file).exists() or digest_file(folder / file).sha256 != sha256:
                raise ExportError(f"{folder / file} was not measured; run `quantise` again")
        return folder / self.served.graph


def float32_alone(plan: Export, folder: Path) -> Variants:
    """One variant, nothing to choose from."""
    return Variants(variants=(_float32(plan),), choice=None, sha256=_digests(folder, [GRAPH_FILE]))


def compare_variants(
    plan: Export,
    folder: Path,
    demand: Demand,
    *,
    score: Callable[[Path], Mapping[str, float]],
    seed: int,
    wanted: WantedPrecision = "auto",
) -> Variants:
    """Prove the int8 graph that lies beside the float32 one, measure both, and choose.

    Raises:
        ExportError: the int8 graph has other tensors than declared, or rows that depend on their
            batch.
        GateRefusedError: int8 is wanted and loses too much.

    """
    paths: dict[Precision, Path] = {
        "float32": folder / GRAPH_FILE,
        "int8": folder / INT8_GRAPH_FILE,
    }
    moved = verify_variant(plan, paths["int8"], paths["float32"], seed)
    write_golden(plan, paths["int8"], folder / INT8_GOLDEN_FILE, seed)
    batch = _one_step(plan, plan.draw_inputs(demand.timed_rows, np.random.default_rng(seed)))
    speed = rows_per_s(paths, batch)
    # Another processor may round an activation to the other side, so an int8 graph need be no
    # nearer to itself than it is to float32.
    limits = {name: max(moved[name], plan.tolerance[name]) for name in moved}
    int8 = Variant(
        precision="int8",
        graph=INT8_GRAPH_FILE,
        golden_file=INT8_GOLDEN_FILE,
        golden=Golden(rows=GOLDEN_ROWS, max_abs_error=limits),
    )
    float32, int8 = (
        msgspec.structs.replace(
            variant,
            metrics=dict(score(paths[variant.precision])),
            rows_per_s=speed[variant.precision],
        )
        for variant in (_float32(plan), int8)
    )
    return Variants(
        variants=(float32, int8),
        choice=choose(demand, float32, int8, wanted=wanted),
        sha256=_digests(folder, [GRAPH_FILE, INT8_GRAPH_FILE, INT8_GOLDEN_FILE]),
    )


def _float32(plan: Export) -> Variant:
    return Variant(
        precision="float32",
        graph=GRAPH_FILE,
        golden_file=GOLDEN_FILE,
        golden=Golden(rows=GOLDEN_ROWS, max_abs_error=dict(plan.tolerance)),
    )


def _digests(folder: Path, files: list[str]) -> dict[str, str]:
    return {file: digest_file(folder / file).sha256 for file in files}


def _one_step(plan: Export, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The inputs with every dynamic axis but the batch's cut to 1: a step of a running text."""
    return {
        spec.name: np.ascontiguousarray(
            inputs[spec.name][
                tuple(
                    slice(1) if isinstance(axis, str) and axis != "N" else slice(None)
                    for axis in spec.shape
                )
            ]
        )
        for spec in plan.inputs
    }
