"""From a command line to the run that it means."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from service.contract import MANIFEST_FILE, check_name
from service.errors import ContractError
from training.config import to_dict
from training.drift.command import gathered
from training.errors import ConfigError
from training.kinds import kinds
from training.kinds.base import Kind
from training.outcome import read_outcome
from training.partners import is_published, published
from training.publish import served_manifest
from training.recipe import Recipe, find_recipe
from training.results import FitResult
from training.runs import Run, RunRecord, run_folders

_LINK, _LINKS = ", itself begun with: ", 5


def new_record(arguments: argparse.Namespace) -> tuple[RunRecord, Recipe]:
    """The run that is asked for, and what it begins with; raises ConfigError for what cannot be
    one.
    """
    kind, model = _kind(arguments), model_name(arguments)
    recipe = find_recipe(arguments, kind, model)
    record = RunRecord(
        kind=kind.name,
        model=model,
        preset=recipe.preset,
        config=to_dict(recipe.config),
        data=arguments.data,
        new_data=arguments.new_data,
        created_at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        started_from=_describe_start(arguments.store, recipe.start_from, kind.name),
        taught_by=_describe_teachers(arguments.store, recipe.teachers),
    )
    return record, recipe


def _describe_start(store: str, folder: Path | None, kind: str) -> str:
    """What a run begins with; raises ConfigError or FitError where that is neither a fitted run nor
    a published version.
    """
    if folder is None:
        return ""
    if is_published(store, str(folder)):
        _, manifest = published(store, str(folder), "start_from")
        if manifest.kind != kind:
            raise ConfigError(f"{folder} is a published {manifest.kind}", field="start_from")
        fit = manifest.training
        return (
            f"published {manifest.name} {manifest.version} of preset {fit.preset}, "
            f"{fit.config['fit']['epochs']} epochs in {fit.duration_s:.0f} s"
            f"{_begun_with(fit.started_from)}"
        )
    before = Run.open(folder)
    weights_sha256, record = before.weights_sha256(), before.record
    if record.kind != kind:
        raise ConfigError(f"{folder} is a run of a {record.kind}", field="start_from")
    fitted = before.read("fit", FitResult, "fit")
    share = record.config["fit"].get("start_share")
    mixed = f", mixed with a share of {share:g} of those that it began with" if share else ""
    return (
        f"weights {weights_sha256[:16]} of preset {record.preset}, {fitted.epochs} epochs in "
        f"{fitted.duration_s:.0f} s{mixed}{_begun_with(record.started_from)}"
    )


def _begun_with(described: str) -> str:
    """The weights before those; of a model that is retrained every night not all of them."""
    links = described.split(_LINK) if described else []
    if len(links) > _LINKS:
        links = [*links[:_LINKS], "others"]
    return "".join(_LINK + link for link in links)


def _describe_teachers(store: str, names: Sequence[str]) -> str:
    """Which versions a run learns from; raises as `published`."""
    manifests = [published(store, named, "teacher")[1] for named in names]
    return ", ".join(f"{manifest.name} {manifest.version}" for manifest in manifests)


def _kind(arguments: argparse.Namespace) -> Kind[Any, Any]:
    if arguments.kind is not None:
        return kinds()[arguments.kind]
    if arguments.model is None:
        raise ConfigError(f"say what to train: --kind {{{','.join(sorted(kinds()))}}} or --model")
    for kind in kinds().values():
        if kind.default_model == arguments.model:
            return kind
    served = served_manifest(arguments.store, arguments.model)
    if served is None:
        raise ConfigError(
            f"{arguments.model!r} is a new model; give its --kind as well", field="kind"
        )
    if served.kind not in kinds():
        raise ConfigError(f"{MANIFEST_FILE} of {arguments.model!r} has kind {served.kind!r}")
    return kinds()[served.kind]


def model_name(arguments: argparse.Namespace) -> str:
    """The model whose run is meant; a name needs no kind for that. Raises ConfigError."""
    model = str(arguments.model or _kind(arguments).default_model)
    try:
        return check_name(model, "--model")
    except ContractError as error:
        raise ConfigError(error.message, field="model") from error


def check_resumed(arguments: argparse.Namespace, run: Run) -> None:
    """Raise ConfigError for options that a run which goes on cannot change."""
    given = {
        "--preset": arguments.preset,
        "--data": arguments.data,
        "--new-data": arguments.new_data,
        "--seed": arguments.seed,
        "--set": arguments.settings or None,
        "--start-from": arguments.start_from,
        "--teacher": arguments.teachers,
    }
    for option, value in given.items():
        if value is not None:
            raise ConfigError(
                f"{run.folder} keeps the configuration it was started with: leave {option} out, "
                "or start a new run without --resume"
            )


def same_run(arguments: argparse.Namespace, wanted: RunRecord) -> Run | None:
    """The newest run that was started as `wanted` is, on the same data; None if there is none, or
    that one was published or refused.

    An older one is not looked at: what came after it has replaced it. Under `--run-dir`, that
    folder alone is.
    """
    where = arguments.run_dir
    folders = [where] if where else run_folders(arguments.runs, wanted.model)
    for folder in reversed(folders):
        try:
            run = Run.open(folder)
        except ConfigError:
            continue  # none there, or one of another release
        if _essence(run.record) == _essence(wanted):
            outcome = read_outcome(run)
            over = outcome is not None and outcome.final
            return None if over or not _same_data(run.record, arguments) else run
    return None


def _essence(record: RunRecord) -> tuple[Any, ...]:
    """What makes two runs the same but for their time and the content of their data."""
    asked = record.kind, record.model, record.preset, record.data, record.started_from
    return (*asked, record.taught_by, record.new_data, record.config)


def _same_data(record: RunRecord, arguments: argparse.Namespace) -> bool:
    """Whether the data are still those that the run began on, as far as that was kept."""
    kind = kinds()[record.kind]
    data = kind.load_data(record.data, arguments.cache_dir.expanduser())
    if record.new_data is not None:  # what lies there now, which may be more than then
        with gathered(record.new_data) as copy:
            data, _ = kind.join(data, copy)
    return record.data_sha256 in ("", kind.record(data).sha256)


def numbers(option: str, assignments: Sequence[str]) -> dict[str, float]:
    """METRIC=NUMBER, as often as given; raises ConfigError for anything else."""
    found: dict[str, float] = {}
    for assignment in assignments:
        metric, _, value = assignment.partition("=")
        try:
            found[metric] = float(value)
        except ValueError as error:
            raise ConfigError(f"{option} {assignment!r} must be METRIC=NUMBER") from error
    return found
