"""A new run: its record, the weights that it begins with, the graphs that it learns from."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch

from training.errors import ConfigError
from training.partners import teacher_of
from training.pipeline import Pipeline
from training.runs import Run
from training.weights import begin_with, weights_to_begin_with


def create(pipeline: Pipeline, start_from: Path | None, teachers: Sequence[str] = ()) -> None:
    """Make the folder of the pipeline's run.

    Args:
        pipeline: of a run that has no folder yet.
        start_from: another run's folder, whose exported weights the fit begins with.
        teachers: models of the store, or version folders, whose answers the fit learns from.

    Raises DataError, or ConfigError unless a fit can begin with such weights, and learn from such
    graphs.
    """
    with tempfile.TemporaryDirectory() as scratch:
        start = None
        if start_from is not None:
            other = Pipeline(Run.open(start_from), pipeline.options, pipeline.say)
            start = weights_to_begin_with(
                other.run, pipeline.kind, other.config, pipeline.data, Path(scratch)
            )
        _create(pipeline, start, teachers)


def _create(pipeline: Pipeline, start: Path | None, teachers: Sequence[str]) -> None:
    kind, config, data, run = pipeline.kind, pipeline.config, pipeline.data, pipeline.run
    if start is None and config.fit.start_share:
        raise ConfigError(
            "fit.start_share is a share of the weights that --start-from brings",
            field="start_from",
        )
    if start is not None:
        begin_with(kind.task(config, data, torch.device("cpu")), start)
    found = [teacher_of(pipeline.options.store, named) for named in teachers]
    kind.check_teachers(config, data, [manifest for _, manifest in found])
    graphs = [folder / manifest.graph for folder, manifest in found]
    record = msgspec.structs.replace(run.record, data_sha256=kind.record(data).sha256)
    pipeline.run = Run.create(run.folder, record, start, graphs)
