"""What a kind gives to the rest of training: presets, data, and a task to fit, judge and export.

A fourth kind is one more module in this package with a `KIND` of its own; nothing else changes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from service.contract import DataRecord, TensorSpec
from training.config import KindConfig, OptimizerConfig

Batch = Mapping[str, torch.Tensor]
Losses = tuple[torch.Tensor, dict[str, torch.Tensor]]
Arrays = dict[str, NDArray[Any]]
ConfigT = TypeVar("ConfigT", bound=KindConfig)
DataT = TypeVar("DataT")


@dataclass(frozen=True)
class Phase:
    """One player's turn in a step: compute a loss, step one module's optimiser.

    A classifier has one phase; a GAN has two, and the loop knows no more about GANs than that.
    """

    name: str
    module: nn.Module
    loss: Callable[[Batch], Losses]
    """The batch to (scalar loss, figures to log)."""
    optimizer: OptimizerConfig


@dataclass(frozen=True)
class Rule:
    """What the gate asks of one metric."""

    metric: str
    goal: str
    """max or min: which way is better."""
    floor: float
    tolerance: float
    """How much worse than the served version a candidate may be."""


@dataclass(frozen=True)
class Export:
    """A network as it will be served: pre- and post-processing inside, contract's tensor names."""

    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    tolerance: Mapping[str, float]
    """Largest absolute difference between the graph and torch, for each output."""
    draw_inputs: Callable[[int, np.random.Generator], Arrays]
    """Random inputs that a client might send: (rows, rng) to arrays."""
    labels: tuple[str, ...] = ()
    vocabulary: str = ""


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found."""

    metrics: dict[str, float]
    plots: tuple[Path, ...] = ()
    samples: tuple[str, ...] = field(default=())
    """Texts for the model card."""


class Task(ABC):
    """A kind's configuration and data, ready to be fitted."""

    modules: dict[str, nn.Module]
    """Everything with weights, by name: what a checkpoint holds."""
    served: str
    """The name of the module that is averaged, evaluated and exported."""
    phases: tuple[Phase, ...]
    steps_per_epoch: int
    monitor: tuple[str, str] | None = None
    """(metric, "max" or "min") that chooses the best checkpoint; None keeps the last."""

    @abstractmethod
    def batch(self, epoch: int, step: int) -> Batch:
        """Step `step` (from 0) of `epoch`, on the task's device; a function of the seed alone."""

    @abstractmethod
    def validate(self, network: nn.Module, folder: Path, epoch: int) -> dict[str, float]:
        """Figures of the averaged network during a fit; may draw samples into `folder`."""


class Kind(ABC, Generic[ConfigT, DataT]):
    """A family of models."""

    name: str
    title: str
    default_model: str
    """The name under which the shipped preset is published."""
    presets: Mapping[str, ConfigT]
    rules: Sequence[Rule]

    @abstractmethod
    def load_data(self, source: str | None, cache_dir: Path) -> DataT:
        """Read the data; None is the kind's usual data set. Raises DataError."""

    @abstractmethod
    def record(self, data: DataT) -> DataRecord:
        """What the manifest says of the data."""

    @abstractmethod
    def describe(self, data: DataT, out_dir: Path) -> str:
        """A table to print; plots go to `out_dir`."""

    @abstractmethod
    def task(self, config: ConfigT, data: DataT, device: torch.device) -> Task:
        """Build the networks (weights drawn from the configuration's seed) and the batches."""

    @abstractmethod
    def evaluate(
        self, config: ConfigT, data: DataT, network: nn.Module, folder: Path, judge: Path | None
    ) -> Evaluation:
        """Measure the fitted network on held-out data and draw plots into `folder`.

        `judge` is the folder of a published classifier, for kinds that are judged by one.
        """

    @abstractmethod
    def export(self, config: ConfigT, data: DataT, network: nn.Module) -> Export:
        """Wrap the fitted network as it will be served."""
