"""What the trials of a search have in common, and what they are judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.config import KindConfig, config_sha256
from training.errors import ConfigError
from training.kinds.base import Kind
from training.private import guard
from training.search.space import Dimension
from training.tasks.base import Task


@dataclass(frozen=True)
class Goal:
    """What the trials have in common: the configuration they vary, the data, the figure."""

    kind: Kind[Any, Any]
    preset: str
    config: KindConfig
    data: Any
    space: tuple[Dimension, ...]
    metric: str
    direction: str
    """"max" or "min"."""
    partner: Path | None = None
    """Version folder of a published model that looks on at every trial."""

    def identity(self) -> dict[str, Any]:
        """What a study must have been started with for its trials to be comparable."""
        return {
            "kind": self.kind.name,
            "preset": self.preset,
            "config_sha256": config_sha256(self.config),
            "data_sha256": self.kind.record(self.data).sha256,
            "space": [repr(dimension) for dimension in self.space],
            "metric": self.metric,
            "partner": self.partner.name if self.partner else None,
        }

    def task(self, config: KindConfig, device: torch.device) -> Task:
        """A trial's task, its judge attending."""
        task = guard(self.kind.task(config, self.data, device), config)
        if self.partner is not None:
            self.kind.attend(task, config, self.data, self.partner)
        return task


def make_goal(
    kind: Kind[Any, Any],
    preset: str,
    config: KindConfig,
    data: Any,
    space: Sequence[Dimension],
    partner: Path | None = None,
) -> Goal:
    """Bind a search to the kind's validation figure.

    Raises ConfigError for a kind that has none, for one whose judge is not published yet, or for
    nothing to search.
    """
    if not space:
        raise ConfigError(
            f"{kind.name} declares no space to search; give one, e.g. "
            "--space optimizer.lr=1e-4..1e-1:log",
            field="space",
        )
    config, data = kind.hold_out(config, data)
    monitor = kind.task(config, data, torch.device("cpu")).monitor
    if monitor is not None:
        return Goal(kind, preset, config, data, tuple(space), *monitor)
    if kind.searched_by is None:
        raise ConfigError(
            f"{kind.name} cannot be searched: no figure of its fit says which of two runs is better"
        )
    if partner is None:
        raise ConfigError(
            f"{kind.name} is searched by {kind.searched_by[0]}, which a published judge measures; "
            "publish one first, or name its version's folder with --judge",
            field="judge",
        )
    return Goal(kind, preset, config, data, tuple(space), *kind.searched_by, partner)
