"""What a run's steps leave for one another, one record each."""

from __future__ import annotations

import msgspec

from service.contract import DataRecord
from training.card import Figure, Sample, Section
from training.private import Privacy
from training.verify import Verification


class FitResult(msgspec.Struct, frozen=True, kw_only=True):
    """`fit.json`."""

    epochs: int
    best_epoch: int
    stopped_early: bool
    duration_s: float
    cpu_s: float | None = None
    """Processor-seconds over all cores; None in records from before they were kept."""
    hardware: str
    parameters: int
    data: DataRecord
    code_revision: str
    libraries: dict[str, str]
    privacy: Privacy | None = None


class EvaluationResult(msgspec.Struct, frozen=True, kw_only=True):
    """`evaluation.json`; `graph_sha256` says which graph was measured."""

    graph_sha256: str
    metrics: dict[str, float]
    figures: tuple[Figure, ...]
    samples: tuple[Sample, ...]
    sections: tuple[Section, ...] = ()


class VerificationResult(msgspec.Struct, frozen=True, kw_only=True):
    """`verification.json`; `graph_sha256` says which graph was proved."""

    graph_sha256: str
    proof: Verification


class ExportResult(msgspec.Struct, frozen=True, kw_only=True):
    """`export.json`; `graph_sha256` says which graph was written."""

    graph_sha256: str
