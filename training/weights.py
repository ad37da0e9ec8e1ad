"""A run's weights, put into its networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from training import checkpoint
from training.config import KindConfig
from training.errors import ConfigError
from training.kinds.base import Kind
from training.private import guard
from training.runs import START_FILE, Run
from training.tasks.base import Task


def fitted_network(run: Run, kind: Kind[Any, Any], config: KindConfig, data: Any) -> nn.Module:
    """The served network with its best weights, on the CPU, in evaluation mode.

    Where the configuration asks for a share of the weights that the fit began with, they are mixed
    in, and the task settles the mixture. Raises FitError if there are no weights yet.
    """
    run.weights_sha256()
    task = kind.task(config, data, torch.device("cpu"))
    weights, share = checkpoint.load(run.best)["weights"], config.fit.start_share
    if share:
        begin_with(task, run.start)
        start = task.modules[task.served].state_dict()
        weights = {
            name: torch.lerp(value, start[name], share) if value.is_floating_point() else value
            for name, value in weights.items()
        }
    task = guard(task, config)
    network: nn.Module = task.modules[task.served]
    network.load_state_dict(weights)
    if share:
        task.settle(network)
    return network.eval()


def weights_to_begin_with(
    run: Run, kind: Kind[Any, Any], config: KindConfig, data: Any, scratch: Path
) -> Path:
    """A file with what `run` exports: its best weights, or those mixed with the ones that it began
    with, by its own share; the mixture is written into `scratch`.
    """
    if not config.fit.start_share:
        return run.best
    mixture = scratch / START_FILE
    weights = fitted_network(run, kind, config, data).state_dict()
    checkpoint.save(mixture, {"weights": weights, "epoch": config.fit.epochs})
    return mixture


def begin_with(task: Task, weights: Path) -> None:
    """Give the task's served network these weights, grown where the task can grow them; raises
    ConfigError for another network's.
    """
    try:
        found = task.fit_in(checkpoint.load(weights)["weights"])
        task.modules[task.served].load_state_dict(found)
    except RuntimeError as error:
        raise ConfigError(
            f"{weights} holds another network's weights; give its preset and --set as well",
            field="start_from",
        ) from error
