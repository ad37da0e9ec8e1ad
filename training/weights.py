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
from training.runs import Run
from training.tasks.base import Task


def fitted_network(run: Run, kind: Kind[Any, Any], config: KindConfig, data: Any) -> nn.Module:
    """The served network with its best weights, on the CPU, in evaluation mode.

    Where the configuration asks for a share of the weights that the fit began with, they are mixed
    in. Raises FitError if there are no weights yet.
    """
    run.weights_sha256()
    task = guard(kind.task(config, data, torch.device("cpu")), config)
    network: nn.Module = task.modules[task.served]
    weights, share = checkpoint.load(run.best)["weights"], config.fit.start_share
    if share:
        start = checkpoint.load(run.start)["weights"]
        weights = {
            name: torch.lerp(value, start[name], share) if value.is_floating_point() else value
            for name, value in weights.items()
        }
    network.load_state_dict(weights)
    return network.eval()


def begin_with(task: Task, weights: Path) -> None:
    """Give the task's served network these weights; raises ConfigError for another network's."""
    try:
        task.modules[task.served].load_state_dict(checkpoint.load(weights)["weights"])
    except RuntimeError as error:
        raise ConfigError(
            f"{weights} holds another network's weights; give its preset and --set as well",
            field="start_from",
        ) from error
