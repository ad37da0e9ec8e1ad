"""A candidate's folder made complete: plots, card and manifest beside its graphs."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from service.contract import (
    SCHEMA_VERSION,
    Gate,
    Golden,
    Manifest,
    TrainingRecord,
    digest_file,
)
from training import comparison, private
from training.card import Figure, write_card
from training.config import KindConfig, config_sha256, differences
from training.data.gather import source_name
from training.energy import cpu_seconds
from training.kinds.base import Export, Kind
from training.publish import seal
from training.quantise.variants import Variants
from training.results import EvaluationResult, FitResult
from training.runs import CURVES_FILE, Run, RunRecord
from training.verify import GOLDEN_ROWS


def complete(
    run: Run,
    kind: Kind[Any, Any],
    config: KindConfig,
    plan: Export,
    *,
    graph: Path,
    variants: Variants,
    evaluation: EvaluationResult,
) -> Manifest:
    """Write card and manifest of the run's candidate, whose served graph is `graph`.

    Raises FitError if the fit or the gate has to be run first, PublishError for plots that are
    missing or too large.
    """
    fitted = run.read("fit", FitResult, "fit")
    verdict = run.read("gate", Gate, "gate")
    within = (figure for section in evaluation.sections for figure in section.figures)
    for figure in (*evaluation.figures, *within):
        shutil.copyfile(run.plots / figure.file, run.candidate / figure.file)
    shutil.copyfile(run.folder / CURVES_FILE, run.candidate / CURVES_FILE)
    now, record = datetime.now(UTC), run.record
    spent: dict[str, float] = {}
    if fitted.privacy is not None:
        spent = {"epsilon": fitted.privacy.epsilon, "delta": fitted.privacy.delta}
    cpu_s = fitted.cpu_s
    if cpu_s is None:
        cpu_s = cpu_seconds(fitted.duration_s, fitted.hardware, None)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=record.model,
        kind=record.kind,
        version=version_name(now, graph),
        created_at=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        description=kind.about.description,
        inputs=plan.inputs,
        outputs=plan.outputs,
        labels=plan.labels,
        vocabulary=plan.vocabulary,
        graph=graph.name,
        files={},
        golden=Golden(rows=GOLDEN_ROWS, max_abs_error=dict(plan.tolerance)),
        variants=variants.variants,
        choice=variants.choice,
        metrics=evaluation.metrics | spent,
        gate=verdict,
        training=TrainingRecord(
            config=record.config,
            config_sha256=config_sha256(config),
            preset=record.preset,
            seed=config.fit.seed,
            parameters=fitted.parameters,
            duration_s=fitted.duration_s,
            cpu_s=cpu_s,
            hardware=fitted.hardware,
            started_from=record.started_from,
            taught_by=record.taught_by,
        ),
        data=fitted.data,
        code_revision=fitted.code_revision,
        libraries=fitted.libraries,
    )
    write_card(
        run.candidate,
        manifest,
        command=command_line(record, kind, config),
        intended_use=kind.about.intended_use,
        limits=kind.about.limits,
        figures=(*evaluation.figures, Figure(CURVES_FILE, "The run, epoch by epoch")),
        samples=evaluation.samples,
        sections=evaluation.sections,
        metric_notes={**kind.about.metric_notes, **private.NOTES, **comparison.NOTES},
    )
    return seal(run.candidate, manifest)


def version_name(now: datetime, graph: Path) -> str:
    """When it was made, and of which graph: sorts by time, and no two are the same."""
    return f"{now:%Y%m%dt%H%M%S}-{digest_file(graph).sha256[:8]}"


def command_line(record: RunRecord, kind: Kind[Any, Any], config: KindConfig) -> str:
    """What makes this model again."""
    words = f"triptych-train run --kind {record.kind} --model {record.model}"
    words += f" --preset {record.preset}"
    if record.data is not None:
        words += f" --data {Path(record.data).name}"
    if record.new_data is not None:
        words += f" --new-data {source_name(record.new_data)}"
    if record.started_from:
        words += f" --start-from {_start(record.started_from)}"
    for teacher in filter(None, record.taught_by.split(", ")):
        words += f" --teacher STORE/{teacher.replace(' ', '/')}"  # two may be of one name
    changes = differences(kind.presets[record.preset], config)
    return words + "".join(f" --set {change}" for change in changes)


def _start(described: str) -> str:
    """Of what a run began with, by its description, what a command line can name."""
    words = described.partition(",")[0].split()
    return f"STORE/{words[1]}/{words[2]}" if words[0] == "published" else "RUN"
