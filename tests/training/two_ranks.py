"""What each of two processes runs for tests/training/test_distributed.py, under torchrun."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from training.config import KindConfig, override
from training.distributed import Ranks, meet
from training.errors import ConfigError, InterruptedFitError
from training.kinds import kinds
from training.loop import fit
from training.tasks.base import Batch

# Networks without batch norm or dropout, whose every number two ranks share: all but the last two.
CASES: dict[str, tuple[str, list[str]]] = {
    "lstm": ("lstm", ["network.dropout=0", "fit.epochs=3"]),
    "cnn": ("cnn", ["network.architecture=textbook", "fit.epochs=3", "optimizer.lr=0.01"]),
    "pruned": (
        "cnn",
        [
            *("network.architecture=textbook", "fit.epochs=5", "optimizer.lr=0.01"),
            *("pruned=0.6", "augment.cutmix=0.3"),
        ],
    ),
    "norms": ("cnn", ["network.architecture=airbench"]),
    "gan": ("gan", []),
}


def prepare(case: str, sources: Path, cache_dir: Path) -> tuple[Any, KindConfig, Any]:
    kind, settings = CASES[case]
    family = kinds()[kind]
    source = sources / ("text.txt" if kind == "lstm" else "images")
    return (
        family,
        override(family.presets["tiny"], settings),
        family.load_data(str(source), cache_dir),
    )


def fit_all(folder: Path, ranks: Ranks) -> None:
    for case in CASES:
        family, config, data = prepare(case, folder, folder / f"cache{ranks.rank}")
        task = family.task(config, data, ranks.device)
        fit(task, config, folder / case, ranks.device, ranks=ranks)
        weights = {name: module.state_dict() for name, module in task.modules.items()}
        torch.save(weights, folder / f"{case}-rank{ranks.rank}.pt")


def share(ranks: Ranks) -> None:
    def fail() -> None:
        raise ConfigError("made by rank 0", field="made")

    assert ranks.share(lambda: ranks.rank) == 0
    assert ranks.mean({"rank": float(ranks.rank)}) == {"rank": 0.5}
    try:
        ranks.share(fail)
    except ConfigError as error:
        assert (error.message, error.field) == ("made by rank 0", "made")
    else:
        raise AssertionError("an error of rank 0 must be everyone's")
    try:
        ranks.check_batch(7)
    except ConfigError as error:
        assert "multiple of the 2 processes" in error.message
    else:
        raise AssertionError("seven rows do not divide by two")


def interrupt(task: Any, at: int) -> None:
    """Let SIGINT reach this process in the making of batch number `at`."""
    original, made = task.batch, 0

    def batch(epoch: int, step: int) -> Batch:
        nonlocal made
        made += 1
        if made == at:
            signal.raise_signal(signal.SIGINT)
        made_batch: Batch = original(epoch, step)
        return made_batch

    task.batch = batch


def stop_and_resume(folder: Path, ranks: Ranks) -> None:
    """Rank 1 alone is interrupted, in its fifth step; both must stop there, and go on later."""
    for interrupted in (True, False):
        family, config, data = prepare("lstm", folder, folder / f"cache{ranks.rank}")
        task = family.task(config, data, ranks.device)
        if interrupted and ranks.rank == 1:
            interrupt(task, at=5)
        try:
            fit(task, config, folder / "resumed", ranks.device, ranks=ranks)
        except InterruptedFitError as stop:
            assert interrupted and "stopped after step 5" in stop.message
        else:
            assert not interrupted


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    with meet("cpu") as ranks:
        assert ranks.size == 2
        share(ranks)
        fit_all(folder, ranks)
        stop_and_resume(folder, ranks)
        if ranks.rank == 1:
            os._exit(3)  # a rank that dies must end the other, which waits here for it
        ranks.any(True)


if __name__ == "__main__":
    main()
