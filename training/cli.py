"""`triptych-train`: the command line.

Exit codes: 0 done (for `run` and `publish`: published), 2 wrong usage or configuration, 3 refused
by the gate or the check of new data, or drift, 4 failed, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from service.contract import CURRENT_FILE, MANIFEST_FILE, check_name
from service.errors import ContractError, TriptychError
from training.arguments import STARTING, build_parser, resume_command
from training.config import flatten, override, to_dict
from training.distributed import launched_rank, meet
from training.drift.command import admitted, check_data, limits_of, watch
from training.errors import ConfigError, DataRefusedError, DriftError, GateRefusedError
from training.kinds import kinds
from training.kinds.base import Kind
from training.loop import InterruptedFitError
from training.memory import keep_freed_memory
from training.pipeline import Options, Pipeline
from training.private import guard
from training.publish import served_manifest
from training.reproduce import check, reproduce
from training.results import FitResult
from training.runs import Run, RunRecord, latest_run_folder, new_run_folder
from training.summary import format_summary, summarise

EXIT_OK, EXIT_USAGE, EXIT_REFUSED, EXIT_FAILED, EXIT_INTERRUPTED = 0, 2, 3, 4, 130


def main(argv: Sequence[str] | None = None) -> int:  # noqa: PLR0911 - an exit code each
    """Run a command line; returns the exit code. Errors are one message on stderr."""
    arguments = build_parser(
        step=_step, presets=_presets, data=_data, search=_search, reproduce=_reproduce, drift=watch
    ).parse_args(argv)
    if argv is None:  # the process is this command's own
        keep_freed_memory()
    try:
        arguments.command(arguments)
    except InterruptedFitError as stop:
        _complain(f"{stop.message}\nto go on: {resume_command(arguments)}")
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        _complain("interrupted")
        return EXIT_INTERRUPTED
    except ConfigError as error:
        _complain(error.message)
        return EXIT_USAGE
    except (GateRefusedError, DataRefusedError, DriftError) as error:
        _complain(error.message)
        return EXIT_REFUSED
    except TriptychError as error:
        _complain(error.message)
        return EXIT_FAILED
    except torch.OutOfMemoryError:
        _complain("the device's memory is too small for this; set fit.batch_size lower")
        return EXIT_FAILED
    except OSError as error:
        _complain(f"{error.filename or 'a file'}: {error.strerror or error}")
        return EXIT_FAILED
    return EXIT_OK


def _complain(message: str) -> None:
    who = f"rank {rank}: " if (rank := launched_rank()) else ""
    print(f"triptych-train: {who}{message}", file=sys.stderr)


def _step(arguments: argparse.Namespace) -> None:
    if arguments.threads < 0:
        raise ConfigError(f"--threads is {arguments.threads}; it must be 0 or more")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    floors = _floors(getattr(arguments, "floor", []))
    with meet(arguments.device) as ranks:
        if ranks.size > 1 and arguments.step not in STARTING:
            raise ConfigError(f"`{arguments.step}` is the work of one process; leave torchrun out")
        starts = arguments.step in STARTING and not arguments.resume
        run = ranks.share(partial(_new_run if starts else _open_run, arguments))
        options = Options(
            store=arguments.store,
            cache_dir=arguments.cache_dir,
            device=ranks.device,
            ranks=ranks,
            judge=getattr(arguments, "judge", None),
            baseline=getattr(arguments, "baseline", None),
            precision=getattr(arguments, "precision", "auto"),
            floors=floors,
        )
        pipeline = Pipeline(run, options)
        if getattr(arguments, "dry_run", False):
            if ranks.is_main:
                with admitted(pipeline, limits_of(arguments)):
                    _explain(pipeline)
            return
        if starts:
            ranks.share(partial(_begin, pipeline, arguments))
        arguments.run_dir = run.folder
        if ranks.is_main:
            print(f"run: {run.folder}")
        if arguments.step in STARTING:
            pipeline.fit()
    if arguments.step == "run":
        if ranks.is_main:
            pipeline.finish()
    elif arguments.step not in STARTING:
        getattr(pipeline, arguments.step)()


def _new_run(arguments: argparse.Namespace) -> Run:
    record = _new_record(arguments)
    return Run(arguments.run_dir or new_run_folder(arguments.runs, record.model), record)


def _open_run(arguments: argparse.Namespace) -> Run:
    run = Run.open(arguments.run_dir or latest_run_folder(arguments.runs, _model(arguments)))
    if arguments.step in STARTING:
        _check_resumed(arguments, run)
    return run


def _begin(pipeline: Pipeline, arguments: argparse.Namespace) -> None:
    """Make the run's folder. Bad data leave none behind, and rank 0 decodes them for the rest."""
    start = None if arguments.start_from is None else Run.open(arguments.start_from).best
    with admitted(pipeline, limits_of(arguments)):
        _ = pipeline.data
        if start is None and pipeline.config.fit.start_share:
            raise ConfigError(
                "fit.start_share is a share of the weights that --start-from brings",
                field="start_from",
            )
        if start is not None:
            pipeline.check_start(start)
        Run.create(pipeline.run.folder, pipeline.run.record, start)


def _new_record(arguments: argparse.Namespace) -> RunRecord:
    kind = _kind(arguments)
    name = arguments.preset or "standard"
    if name not in kind.presets:
        raise ConfigError(
            f"{kind.name} has no preset {name!r}; it has {', '.join(kind.presets)}", field="preset"
        )
    model = arguments.model or kind.default_model
    try:
        check_name(model, "--model")
    except ContractError as error:
        raise ConfigError(error.message, field="model") from error
    settings = list(arguments.settings)
    if arguments.seed is not None:
        settings.append(f"fit.seed={arguments.seed}")
    return RunRecord(
        kind=kind.name,
        model=model,
        preset=name,
        config=to_dict(override(kind.presets[name], settings)),
        data=arguments.data,
        new_data=arguments.new_data,
        created_at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        started_from=_describe_start(arguments.start_from, kind.name),
    )


def _describe_start(folder: Path | None, kind: str) -> str:
    """What a run begins with; raises ConfigError or FitError where that is no fitted run."""
    if folder is None:
        return ""
    before = Run.open(folder)
    weights_sha256, record = before.weights_sha256(), before.record
    if record.kind != kind:
        raise ConfigError(f"{folder} is a run of a {record.kind}", field="start_from")
    fitted = before.read("fit", FitResult, "fit")
    earlier = f", itself begun with: {record.started_from}" if record.started_from else ""
    return (
        f"weights {weights_sha256[:16]} of preset {record.preset}, {fitted.epochs} epochs in "
        f"{fitted.duration_s:.0f} s{earlier}"
    )


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


def _model(arguments: argparse.Namespace) -> str:
    """The model whose latest run is meant; a name needs no kind for that."""
    return str(arguments.model or _kind(arguments).default_model)


def _check_resumed(arguments: argparse.Namespace, run: Run) -> None:
    given = {
        "--preset": arguments.preset,
        "--data": arguments.data,
        "--new-data": arguments.new_data,
        "--seed": arguments.seed,
        "--set": arguments.settings or None,
        "--start-from": arguments.start_from,
    }
    for option, value in given.items():
        if value is not None:
            raise ConfigError(
                f"{run.folder} keeps the configuration it was started with: leave {option} out, "
                "or start a new run without --resume"
            )


def _floors(assignments: Sequence[str]) -> dict[str, float]:
    floors: dict[str, float] = {}
    for assignment in assignments:
        metric, _, value = assignment.partition("=")
        try:
            floors[metric] = float(value)
        except ValueError as error:
            raise ConfigError(f"--floor {assignment!r} must be METRIC=NUMBER") from error
    return floors


def _explain(pipeline: Pipeline) -> None:
    """A dry run: configuration, network, steps and data, and nothing written."""
    record, config = pipeline.run.record, pipeline.config
    kind, data = pipeline.kind, pipeline.data
    task = guard(kind.task(config, data, torch.device("cpu")), config)
    print(f"{record.kind} {record.model}, preset {record.preset}, into {pipeline.run.folder}\n")
    for key, value in flatten(config).items():
        print(f"  {key} = {value}")
    plan = kind.export(config, data, task.modules[task.served])
    print(f"\nserved network:\n{format_summary(summarise(plan))}")
    for name, module in task.modules.items():
        print(f"{name}: {sum(weight.numel() for weight in module.parameters()):,} parameters")
    source = kind.record(data)
    counts = ", ".join(f"{count:,} {split}" for split, count in source.examples.items())
    print(f"\ndata: {source.name} from {source.source} (sha256 {source.sha256[:16]}...): {counts}")
    steps = config.fit.epochs * task.steps_per_epoch
    phases = ", then ".join(phase.name for phase in task.phases)
    print(
        f"steps: {config.fit.epochs} epochs of {task.steps_per_epoch:,}: {steps:,}, each {phases}"
    )
    print("dry run: nothing was done")


def _reproduce(arguments: argparse.Namespace) -> None:
    names = arguments.model or sorted(
        p.parent.name for p in arguments.store.glob(f"*/{CURRENT_FILE}")
    )
    if not names:
        raise ConfigError(f"{arguments.store} holds no published model", field="store")
    found = {
        name: reproduce(
            arguments.store,
            name,
            data=arguments.data,
            cache_dir=arguments.cache_dir.expanduser(),
            judge=arguments.judge,
            baseline=arguments.baseline,
            out=arguments.out / name,
        )
        for name in names
    }
    check(found)
    figures = sum(len(compared) for compared in found.values())
    print(f"reproduced: {figures} figures of {len(found)} models")


def _presets(arguments: argparse.Namespace) -> None:
    chosen = [kinds()[arguments.kind]] if arguments.kind else list(kinds().values())
    if arguments.preset is None:
        for kind in chosen:
            for name, preset in kind.presets.items():
                fit = preset.fit
                print(
                    f"{kind.name:<6}{name:<10}{fit.epochs:>4} epochs, batches of "
                    f"{fit.batch_size}, {preset.optimizer.name} {preset.optimizer.lr:g}"
                )
        return
    for kind in chosen:
        if arguments.preset in kind.presets:
            print(f"{kind.name} {arguments.preset}")
            for key, value in flatten(kind.presets[arguments.preset]).items():
                print(f"  {key} = {value}")
            continue
        if arguments.kind:
            raise ConfigError(f"{kind.name} has no preset {arguments.preset!r}", field="preset")


def _search(arguments: argparse.Namespace) -> None:
    from training.search.command import search  # noqa: PLC0415 - Optuna takes a while to load

    search(arguments, kinds()[arguments.kind])


def _data(arguments: argparse.Namespace) -> None:
    if arguments.action == "check":
        check_data(arguments)
        return
    kind = kinds()[arguments.kind]
    data = kind.load_data(arguments.data, arguments.cache_dir.expanduser())
    if arguments.action == "fetch":
        record = kind.record(data)
        print(f"{record.name}: {record.source}, sha256 {record.sha256}")
        return
    found = kind.describe(data, arguments.out)
    print(found.text)
    print("\n".join(str(path) for path in found.files))
