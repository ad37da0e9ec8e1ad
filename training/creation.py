"""A new run: its record, the weights that it begins with, the graphs that it learns from."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch

from service.contract import GRAPH_FILE
from training import checkpoint
from training.config import from_dict
from training.errors import ConfigError
from training.partners import is_published, published
from training.pipeline import Pipeline
from training.runs import START_FILE, Run
from training.weights import begin_with, weights_to_begin_with


def create(pipeline: Pipeline, start_from: Path | None, teachers: Sequence[str] = ()) -> None:
    """Make the folder of the pipeline's run.

    Args:
        pipeline: of a run that has no folder yet.
        start_from: another run's folder, whose exported weights the fit begins with, or a
            published model: its name, or its version's folder.
        teachers: models of the store, or version folders, whose answers the fit learns from.

    Raises DataError, or ConfigError unless a fit can begin with such weights, and learn from such
    graphs.
    """
    with tempfile.TemporaryDirectory() as scratch:
        start, graphs = _gather(pipeline, start_from, teachers, Path(scratch))
        digest = pipeline.kind.record(pipeline.data).sha256
        record = msgspec.structs.replace(pipeline.run.record, data_sha256=digest)
        pipeline.run = Run.create(pipeline.run.folder, record, start, graphs)


def rehearse(pipeline: Pipeline, start_from: Path | None, teachers: Sequence[str] = ()) -> None:
    """Raise what `create` would, and leave nothing behind."""
    with tempfile.TemporaryDirectory() as scratch:
        _gather(pipeline, start_from, teachers, Path(scratch))


def _gather(
    pipeline: Pipeline, start_from: Path | None, teachers: Sequence[str], scratch: Path
) -> tuple[Path | None, list[Path]]:
    """The weights to begin with, which may lie in `scratch`, and the teachers' graphs."""
    kind, config, data = pipeline.kind, pipeline.config, pipeline.data
    start = None
    if start_from is not None:
        start = _weights(pipeline, start_from, scratch)
        begin_with(kind.task(config, data, torch.device("cpu")), start)
    elif config.fit.start_share:
        raise ConfigError(
            "fit.start_share is a share of the weights that --start-from brings",
            field="start_from",
        )
    found = [published(pipeline.options.store, named, "teacher") for named in teachers]
    kind.check_teachers(config, data, [manifest for _, manifest in found])
    return start, [folder / manifest.graph for folder, manifest in found]


def _weights(pipeline: Pipeline, start_from: Path, scratch: Path) -> Path:
    """A file with the weights of another run, or of a published version."""
    kind, data, store = pipeline.kind, pipeline.data, pipeline.options.store
    if not is_published(store, str(start_from)):
        other = Pipeline(Run.open(start_from), pipeline.options, pipeline.say)
        return weights_to_begin_with(other.run, kind, other.config, data, scratch)
    folder, manifest = published(store, str(start_from), "start_from")
    config = from_dict(type(pipeline.config), manifest.training.config)
    weights = kind.recover(config, data, folder / GRAPH_FILE)
    checkpoint.save(scratch / START_FILE, {"weights": dict(weights), "epoch": 0})
    return scratch / START_FILE
