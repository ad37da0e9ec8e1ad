"""A command line that works on a run: which run, alone on its model, and how it ended."""

from __future__ import annotations

import argparse
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import torch

from service.contract import MANIFEST_FILE, decode_manifest
from service.errors import TriptychError
from service.store.trial import Mode
from training.arguments import STARTING, resume_command
from training.creation import create, rehearse
from training.demands import rules, served_version
from training.distributed import Ranks, meet
from training.drift.command import admitted, limits_of
from training.dry_run import explain
from training.errors import (
    ConfigError,
    DivergedError,
    FailedRunError,
    GateRefusedError,
    InterruptedFitError,
)
from training.lock import alone
from training.options import Options, TrialOptions
from training.outcome import Outcome, State, clear_outcome, read_outcome, write_outcome
from training.pipeline import Pipeline
from training.recipe import Recipe
from training.request import (
    check_resumed,
    model_name,
    new_record,
    numbers,
    same_run,
)
from training.runs import Run, latest_run_folder, new_run_folder


def step(arguments: argparse.Namespace) -> None:
    """Do the step, or `run` all that are left; the run's folder ends up in `arguments.run_dir`.

    Raises AlreadyRunningError if another process works on the model, and for a `run` that failed
    FailedRunError, which says at which step and how to go on.
    """
    if arguments.threads < 0:
        raise ConfigError(f"--threads is {arguments.threads}; it must be 0 or more")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    name = arguments.step
    with ExitStack() as held:
        with meet(arguments.device) as ranks:
            if ranks.size > 1 and name not in STARTING:
                raise ConfigError(f"`{name}` is the work of one process; leave torchrun out")
            options = _options(arguments, ranks)
            if getattr(arguments, "dry_run", False):
                run, recipe = ranks.share(partial(_choose, arguments))
                if ranks.is_main:
                    _rehearse(Pipeline(run, options), arguments, recipe)
                return
            ranks.share(partial(_lock, held, arguments))
            run, recipe = ranks.share(partial(_choose, arguments))
            pipeline = Pipeline(run, options)
            if ranks.share(partial(_begin, pipeline, arguments, recipe)):
                return
            arguments.run_dir = run.folder
            if name in STARTING:
                with _ending(pipeline, arguments, ranks):
                    if name == "fit":
                        pipeline.fit()
                    else:
                        pipeline.advance()
        if not ranks.is_main or name == "fit":
            return
        with _ending(pipeline, arguments, ranks):
            if name == "run":
                pipeline.finish()
            else:
                pipeline.step = name
                getattr(pipeline, name)()


def _options(arguments: argparse.Namespace, ranks: Ranks) -> Options:
    factors = {"time_ratio": "allow_slower", "size_ratio": "allow_larger"}
    ceilings = {
        ratio: value
        for ratio, option in factors.items()
        if (value := getattr(arguments, option, None)) is not None
    }
    for ratio, value in ceilings.items():
        if not value > 0:
            option = factors[ratio].replace("_", "-")
            raise ConfigError(f"--{option} is {value:g}; it must be above 0")
    return Options(
        store=arguments.store,
        cache_dir=arguments.cache_dir,
        device=ranks.device,
        ranks=ranks,
        judge=getattr(arguments, "judge", None),
        baseline=getattr(arguments, "baseline", None),
        precision=getattr(arguments, "precision", "auto"),
        floors=numbers("--floor", getattr(arguments, "floor", [])),
        allowed_losses=numbers("--allow-worse", getattr(arguments, "allow_worse", [])),
        ceilings=ceilings,
        trial=_trial(arguments),
    )


def _trial(arguments: argparse.Namespace) -> TrialOptions | None:
    modes: dict[Mode, float | None] = {
        "canary": getattr(arguments, "canary", None),
        "shadow": getattr(arguments, "shadow", None),
    }
    wanted = [(mode, share) for mode, share in modes.items() if share is not None]
    if len(wanted) > 1:
        raise ConfigError("--canary and --shadow are one or the other", field="shadow")
    return next(
        (TrialOptions(mode, share, arguments.window, arguments.requests) for mode, share in wanted),
        None,
    )


def _lock(held: ExitStack, arguments: argparse.Namespace) -> None:
    """Hold the model among the runs, and a run's folder that lies elsewhere, until `held` ends."""
    folder: Path | None = arguments.run_dir
    try:
        model = Run.open(folder).record.model if folder else model_name(arguments)
    except ConfigError:
        model = model_name(arguments)
    what, place = f"a run of {model}", arguments.runs / model
    held.enter_context(alone(place, what))
    if folder is not None and folder.resolve().parent != place.resolve():
        held.enter_context(alone(folder, what))


def _choose(arguments: argparse.Namespace) -> tuple[Run, Recipe | None]:
    """The run that is meant, and its recipe if it is a new one."""
    if arguments.step in STARTING and arguments.resume != "latest":
        record, recipe = new_record(arguments)
        found = same_run(arguments, record) if arguments.resume == "auto" else None
        if found is not None:
            return found, None
        folder = arguments.run_dir or new_run_folder(arguments.runs, record.model)
        return Run(folder, record), recipe
    run = Run.open(arguments.run_dir or latest_run_folder(arguments.runs, model_name(arguments)))
    if arguments.step in STARTING:
        check_resumed(arguments, run)
    return run, None


def _rehearse(pipeline: Pipeline, arguments: argparse.Namespace, recipe: Recipe | None) -> None:
    """Say what a run would do; raises what would keep it from starting."""
    with admitted(pipeline, limits_of(arguments)):
        if recipe is not None:
            _introduce(recipe)
            rehearse(pipeline, recipe.start_from, recipe.teachers)
        explain(pipeline)


def _introduce(recipe: Recipe) -> None:
    """Say where a recipe comes from that the command line does not name."""
    if recipe.version:
        begun = f", begun with the weights of {recipe.start_from}" if recipe.start_from else ""
        taught = f", taught by {' and '.join(recipe.teachers)}" if recipe.teachers else ""
        print(
            f"as version {recipe.version}, which is served, of preset {recipe.preset}"
            f"{begun}{taught}; --preset takes another recipe"
        )


def _begin(pipeline: Pipeline, arguments: argparse.Namespace, recipe: Recipe | None) -> bool:
    """Make the run's folder, or look at what is there; returns whether nothing is left to do.

    Whatever can be known to be wrong is said here, before the fit. Bad data leave no folder
    behind, and rank 0 decodes them for the rest.
    """
    run, name = pipeline.run, arguments.step
    if name == "run":
        served_version(run.record, pipeline.options)
        rules(pipeline.kind, pipeline.options)
    if recipe is not None:
        _introduce(recipe)
        with admitted(pipeline, limits_of(arguments)):
            create(pipeline, recipe.start_from, recipe.teachers)
    print(f"run: {run.folder}")
    if recipe is not None or name not in STARTING:
        return False
    outcome = read_outcome(run)
    if name == "run" and outcome is not None and outcome.state == "published":
        print(f"published already: version {outcome.version}; nothing is left to do")
        return True
    if run.record.data_sha256:
        pipeline.check_data(run.record.data_sha256)
    if name == "run":
        clear_outcome(run)
    return False


@contextmanager
def _ending(pipeline: Pipeline, arguments: argparse.Namespace, ranks: Ranks) -> Iterator[None]:
    """Leave `outcome.json`, and make of an error one that says how to go on."""
    whole = arguments.step == "run"

    def leave(state: State, message: str = "", version: str = "") -> None:
        if not ranks.is_main:
            return
        outcome = Outcome(state=state, step=pipeline.step, message=message, version=version)
        with suppress(OSError):  # the disk may be full; the message is printed all the same
            write_outcome(pipeline.run, outcome)

    try:
        yield
    except GateRefusedError as error:
        leave("refused", error.message)
        raise
    except (KeyboardInterrupt, InterruptedFitError) as stop:
        message = getattr(stop, "message", f"interrupted at step `{pipeline.step}`")
        if whole:
            leave("interrupted", message)
        raise InterruptedFitError(message) from stop
    except Exception as error:
        if not whole:
            raise
        message = _describe(error)
        leave("failed", message)
        if isinstance(error, ConfigError):
            raise
        if not isinstance(error, TriptychError | OSError | torch.OutOfMemoryError):
            traceback.print_exc()
        words = f"failed at step `{pipeline.step}`: {message}"
        if not isinstance(error, DivergedError):  # which would only diverge again
            words += f"\nto go on: {resume_command(arguments)}"
        raise FailedRunError(words) from error
    if pipeline.step == "publish":
        path = pipeline.run.candidate / MANIFEST_FILE
        leave("published", version=decode_manifest(path.read_bytes()).version)


def _describe(error: Exception) -> str:
    """What went wrong, in a line or two for people."""
    if isinstance(error, TriptychError):
        return error.message
    if isinstance(error, torch.OutOfMemoryError):
        return "the device's memory is too small for this; set fit.batch_size lower"
    if isinstance(error, OSError):
        return f"{error.filename or 'a file'}: {error.strerror or error}"
    return f"{type(error).__name__}: {error}"
