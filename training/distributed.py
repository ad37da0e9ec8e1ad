"""One fit over several processes and machines, on torch's own engine (DistributedDataParallel).

`torchrun --nproc-per-node 2 -m training run ...` starts the processes ("ranks"). Each makes the
whole batch of a step from the same seed and keeps its own rows of it, so that examples, order and
augmentation are those of one process at the same batch size; gradients are averaged over ranks.
Rank 0 alone writes files, validates and publishes.

Batch norm normalises with the statistics of a rank's own rows on CPUs, and of the whole batch
(SyncBatchNorm) on GPUs; rank 0's running statistics are the ones kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from service.errors import TriptychError
from training.errors import ConfigError
from training.precision import choose_device
from training.seeds import derive
from training.tasks.base import Batch, Losses, Phase

T = TypeVar("T")
_LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Ranks:
    """The processes of a fit, seen from one of them. Of one process alone, all of it does nothing.

    Every method but `is_main` and `shard` is a meeting: each rank has to call it.
    """

    def __init__(self, device: torch.device, rank: int = 0, size: int = 1) -> None:
        self.device, self.rank, self.size = device, rank, size

    @property
    def is_main(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def check_batch(self, batch_size: int) -> None:
        """Raise ConfigError unless the batch divides into equal shares."""
        if batch_size % self.size:
            raise ConfigError(
                f"fit.batch_size is {batch_size}; it must be a multiple of the {self.size} "
                "processes that share each batch",
                field="fit.batch_size",
            )

    def shard(self, batch: Batch, seed: int, step: int) -> Batch:
        """This rank's rows of the batch; what it draws from now on in the step is its own."""
        if self.size == 1:
            return batch
        if not self.is_main:
            torch.manual_seed(derive(seed, "step", step, "rank", self.rank))
        return {key: self._rows(value) for key, value in batch.items()}

    def _rows(self, value: torch.Tensor) -> torch.Tensor:
        rows = len(value) // self.size
        return value[self.rank * rows : (self.rank + 1) * rows]

    def prepare(self, modules: Mapping[str, nn.Module]) -> None:
        """Make batch norms take their statistics over all ranks, where torch has that: on GPUs."""
        if self.size > 1 and self.device.type == "cuda":
            for module in modules.values():
                nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]

    def loss(self, phase: Phase, phases: int) -> Callable[[Batch], Losses]:
        """The phase's loss, whose gradients are averaged over ranks as they come up."""
        if self.size == 1:
            return phase.loss
        # With two players, a player may have a head that its loss does not read. (Where none has,
        # torch advises once to leave the search for it out.)
        searches = phases > 1
        device_ids = [self.device] if self.device.type == "cuda" else None
        turn = DistributedDataParallel(
            _Turn(phase), device_ids=device_ids, find_unused_parameters=searches
        )
        return cast("Callable[[Batch], Losses]", turn)

    def mean(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Each figure's mean over ranks; the keys must be the same everywhere."""
        if self.size == 1:
            return dict(figures)
        keys = sorted(figures)
        total = torch.tensor(
            [figures[key] for key in keys],
            dtype=torch.float64,
            device=self.device,
        )
        dist.all_reduce(total)
        return dict(zip(keys, (total / self.size).tolist(), strict=True))

    def any(self, flag: bool) -> bool:
        """Whether it holds on one rank at least."""
        return self.mean({"flag": float(flag)})["flag"] > 0

    def share(self, make: Callable[[], T]) -> T:
        """What rank 0 makes, on every rank; an error of ours that it raises, too."""
        if self.size == 1:
            return make()
        made: list[Any] = [None]
        if self.is_main:
            try:
                made = [make()]
            except TriptychError as error:
                made = [error]
        dist.broadcast_object_list(made, src=0, device=self.device)
        if isinstance(made[0], TriptychError):
            raise made[0]
        return cast("T", made[0])


class _Turn(nn.Module):
    """A phase as a module, so that its whole loss is the forward pass that DDP watches."""

    def __init__(self, phase: Phase) -> None:
        super().__init__()
        self.module, self.loss = phase.module, phase.loss

    def forward(self, batch: Batch) -> Losses:
        """The phase's loss of this rank's rows."""
        return self.loss(batch)


def of_all_ranks(rows: torch.Tensor) -> torch.Tensor:
    """The rows of every rank, as many of each, in the order of the whole batch: a meeting. Of one
    process alone, `rows`.
    """
    if launched_rank() is None:
        return rows
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def launched_rank() -> int | None:
    """This process's rank, if torchrun, or a launcher that speaks its variables, started it as one
    of several.
    """
    several = all(name in os.environ for name in _LAUNCHED) and int(os.environ["WORLD_SIZE"]) > 1
    return int(os.environ["RANK"]) if several else None


def launch_words() -> list[str]:
    """The words that start the command line as this process was started."""
    if launched_rank() is None:
        return ["triptych-train"]
    here = os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"])
    machines = int(os.environ["WORLD_SIZE"]) // int(here)
    words = ["torchrun"] + (["--nnodes", str(machines)] if machines > 1 else [])
    return [*words, "--nproc-per-node", here, "-m", "training"]


@contextmanager
def meet(device: str) -> Iterator[Ranks]:
    """Join the other ranks, if this process was launched as one of several: gloo between CPUs,
    NCCL between GPUs, where `auto` and `cuda` are the GPU of the process's own number.

    Raises ConfigError for a device that is not here.
    """
    if launched_rank() is None:
        yield Ranks(choose_device(device))
        return
    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    chosen = choose_device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
        dist.init_process_group("nccl", device_id=chosen)
    else:
        dist.init_process_group("gloo")
    try:
        yield Ranks(chosen, dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
