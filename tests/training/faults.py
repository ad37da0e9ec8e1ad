"""Commands of `triptych-train` in processes of their own that a fault ends at a given point.

A fault is "before:<step>" or "after:<step>" (the process is killed there), "writing:<file>" (killed
with the new content written beside the file or folder, and not yet in its place), "batch:<n>"
(killed in the making of the fit's n-th batch) or "full:<step>" (the disk takes files of a few
kilobytes only, from that step on; "full:store": from when the store is written to).
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training import pipeline
from training.cli import main
from training.kinds import kinds
from training.pipeline import Pipeline

# Not "fork": the process that runs the tests may have threads, which a fork would not carry over.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.training.faults"])
SMALL_BYTES = 4096


@dataclass(frozen=True)
class Ended:
    """How a process ended; `code` is negative for the signal that killed it."""

    code: int
    out: str
    err: str


def run(words: Sequence[str], log: Path, fault: str = "") -> Ended:
    """Run the command line to its end."""
    process = start(words, log, fault)
    process.join(240)
    assert process.exitcode is not None, "it hangs"
    return Ended(process.exitcode, log.with_suffix(".out").read_text(), log.read_text())


def start(words: Sequence[str], log: Path, fault: str = "") -> Any:
    """The process, under way."""
    process = PROCESSES.Process(target=_work, args=(list(words), str(log), fault))
    process.start()
    return process


def _work(words: list[str], log: str, fault: str) -> None:
    torch.set_num_threads(1)
    with (
        Path(log).open("w", buffering=1) as err,
        Path(log).with_suffix(".out").open("w", buffering=1) as out,
        contextlib.redirect_stderr(err),
        contextlib.redirect_stdout(out),
    ):
        if fault:
            where, _, what = fault.partition(":")
            FAULTS[where](what)
        sys.exit(main(words))


def _die() -> None:
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def _around(step: str, before: Callable[[], None], after: Callable[[], None]) -> None:
    original = getattr(Pipeline, step)

    def do(self: Pipeline) -> Any:
        before()
        result = original(self)
        after()
        return result

    setattr(Pipeline, step, do)


def _nothing() -> None:
    return


def _at_rename(name: str) -> None:
    """Whatever is moved in one step, from or to a path with a name that begins so."""
    for owner, method in ((Path, "replace"), (Path, "rename"), (os, "replace")):
        original = getattr(owner, method)

        def move(*paths: Any, original: Any = original) -> Any:
            if any(Path(path).name.startswith(name) for path in paths):
                _die()
            return original(*paths)

        setattr(owner, method, move)


def _in_batch(number: str) -> None:
    made = 0
    for kind in kinds().values():
        original = kind.task

        def task(*words: Any, original: Any = original) -> Any:
            found = original(*words)
            batch = found.batch

            def counted(epoch: int, step: int) -> Any:
                nonlocal made
                made += 1
                if made == int(number):
                    _die()
                return batch(epoch, step)

            found.batch = counted
            return found

        kind.task = task  # type: ignore[method-assign]


def _full_from(step: str) -> None:
    """Python ignores SIGXFSZ, so a write beyond the limit is an error, as on a full disk."""

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_BYTES, SMALL_BYTES))

    if step != "store":
        _around(step, fill, _nothing)
        return
    original = pipeline.publish

    def publish(*words: Any) -> Path:
        fill()
        return original(*words)

    pipeline.publish = publish


FAULTS: dict[str, Callable[[str], None]] = {
    "before": lambda step: _around(step, _die, _nothing),
    "after": lambda step: _around(step, _nothing, _die),
    "writing": _at_rename,
    "batch": _in_batch,
    "full": _full_from,
}
