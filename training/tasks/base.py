"""What the loop knows of a task: phases, batches, and how to look at the result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from training.config import OptimizerConfig
from training.optimizers import build_optimizer

Batch = Mapping[str, torch.Tensor]
Losses = tuple[torch.Tensor, dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Phase:
    """One player's turn in a step: compute a loss, step one module's optimiser.

    A classifier has one phase; a GAN has two or more, and the loop knows no more about GANs.
    """

    name: str
    module: nn.Module
    loss: Callable[[Batch], Losses]
    """The batch to (scalar loss, figures to log)."""
    optimizer: OptimizerConfig
    epochs: tuple[int, int] | None = None
    """First epoch (from 0) and the one behind the last in which the phase has its turn, its
    schedule drawn out over them; None is the whole run."""

    def progress(self, step: int, steps_per_epoch: int, total_steps: int) -> float | None:
        """How far through its epochs a phase is at a step of the run, in [0, 1); None: outside."""
        first, end = self.epochs or (0, total_steps // steps_per_epoch)
        share = (step - first * steps_per_epoch) / ((end - first) * steps_per_epoch)
        return share if 0 <= share < 1 else None


class Task(ABC):
    """A kind's configuration and data, ready to be fitted."""

    modules: dict[str, nn.Module]
    """Everything with weights, by name: what a checkpoint holds."""
    served: str
    """The name of the module that is averaged, evaluated and exported."""
    phases: tuple[Phase, ...]
    steps_per_epoch: int
    examples: int = 0
    """Training examples that `gather` picks from; 0 where a step is more than a pick of them."""
    monitor: tuple[str, str] | None = None
    """(metric, "max" or "min") that chooses the best checkpoint; None keeps the last, and cannot
    stop early."""

    @abstractmethod
    def batch(self, epoch: int, step: int) -> Batch:
        """Step `step` (from 0) of `epoch`, on the task's device; a function of the seed alone."""

    def gather(self, index_B: torch.Tensor, epoch: int) -> Batch:
        """The training examples of these indices, int64 [B] in 0..examples, as in `batch`."""
        raise NotImplementedError

    def follow(self, teachers: Sequence[Path]) -> None:
        """Learn from these graphs' answers as well; the kind's `check_teachers` let them pass."""
        raise NotImplementedError

    def fit_in(self, weights: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """The weights of another run's served network, as this one's can begin with them."""
        return weights

    def settle(self, network: nn.Module) -> None:  # noqa: B027 - most kinds have nothing to do
        """Measure again what a served network holds of its own maps' statistics, once its weights
        are a mixture that it was not trained with; nothing for a network that holds none.
        """

    def optimizer(self, phase: Phase) -> torch.optim.Optimizer:
        """What steps the phase's module."""
        return build_optimizer(phase.module, phase.optimizer)

    @abstractmethod
    def validate(self, network: nn.Module, folder: Path, epoch: int) -> dict[str, float]:
        """Figures of the averaged network during a fit; may draw samples into `folder`."""


def channels_last(network: nn.Module) -> nn.Module:
    """Lay out convolution weights as processors like them; the numbers stay the same."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def in_chunks(rows_N: torch.Tensor, size: int) -> list[torch.Tensor]:
    """Consecutive slices of at most `size` rows."""
    return [rows_N[start : start + size] for start in range(0, len(rows_N), size)]
