"""`triptych-train`: the command line.

Exit codes: 0 done (for `run` and `publish`: published), 2 wrong usage or configuration, 3 refused
by the gate or the check of new data, or drift, 4 failed, 5 another run of the model is under way,
130 interrupted. A `run` leaves the same in its folder, as `outcome.json`, and where it is not over
says with which command line it goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch

from service.errors import TriptychError
from service.store import Store
from training.arguments import build_parser, resume_command
from training.config import flatten
from training.distributed import launched_rank
from training.drift.command import check_data, watch
from training.errors import (
    AlreadyRunningError,
    ConfigError,
    DataRefusedError,
    DriftError,
    GateRefusedError,
    InterruptedFitError,
)
from training.kinds import kinds
from training.memory import keep_freed_memory
from training.renewal import renew
from training.reproduce import check, measure, reproduce
from training.running import step
from training.stores import WITH_MODEL, run_store

EXIT_OK, EXIT_USAGE, EXIT_REFUSED, EXIT_FAILED, EXIT_BUSY, EXIT_INTERRUPTED = 0, 2, 3, 4, 5, 130


def main(argv: Sequence[str] | None = None) -> int:  # noqa: PLR0911 - an exit code each
    """Run a command line; returns the exit code. Errors are one message on stderr."""
    arguments = build_parser(
        step=step,
        presets=_presets,
        data=_data,
        search=_search,
        reproduce=_reproduce,
        store=_store,
        drift=watch,
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
    except AlreadyRunningError as error:
        _complain(error.message)
        return EXIT_BUSY
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


def _reproduce(arguments: argparse.Namespace) -> None:
    names = arguments.model or Store(arguments.store).home.names()
    if not names:
        raise ConfigError(f"{arguments.store} holds no published model", field="store")
    found = {}
    for name in names:
        out = arguments.out / name
        measured = measure(
            arguments.store,
            name,
            data=arguments.data,
            cache_dir=arguments.cache_dir.expanduser(),
            judge=arguments.judge,
            baseline=arguments.baseline,
            out=out,
        )
        if arguments.publish:
            renew(measured, arguments.store, out)
        else:
            found[name] = reproduce(measured, out)
    if arguments.publish:
        return
    check(found)
    figures = sum(len(compared) for compared in found.values())
    print(f"reproduced: {figures} figures of {len(found)} models")


def _store(arguments: argparse.Namespace) -> None:
    if arguments.model is None and arguments.action in WITH_MODEL:
        raise ConfigError(f"`store {arguments.action}` needs --model", field="model")
    run_store(arguments)


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
