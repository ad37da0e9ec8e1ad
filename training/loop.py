"""The training loop: one for a classifier, a language model and a GAN's two players.

A step runs every phase in turn. All randomness of step n is seeded by (seed, n), the order of an
epoch by (seed, epoch) and the learning rate is a function of n, so a checkpoint needs weights,
optimiser states and n to go on bit for bit as if nothing had happened.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training import checkpoint
from training.config import KindConfig, config_sha256, to_dict
from training.distributed import Ranks
from training.errors import ConfigError, DivergedError, FitError, InterruptedFitError
from training.interrupt import StopOnInterrupt
from training.journal import Journal
from training.optimizers import Average, learning_rate_scale, set_learning_rate
from training.precision import autocast, choose_dtype
from training.progress import Progress
from training.seeds import derive
from training.tasks.base import Batch, Phase, Task

CHECKPOINT_FILE = "checkpoint.pt"
BEST_FILE = "best.pt"
SAMPLES_FOLDER = "samples"

Watch = Callable[[Mapping[str, Any]], None]


def fit(
    task: Task,
    config: KindConfig,
    folder: Path,
    device: torch.device,
    *,
    ranks: Ranks | None = None,
    watch: Watch | None = None,
) -> Progress:
    """Train until the last epoch or an early stop; `folder/best.pt` has the weights to serve.

    A checkpoint in `folder` is gone on from. `ranks` are the processes that share each batch, of
    which the first alone writes. `watch` is shown each epoch's figures, and may raise to end the
    fit there. Raises DivergedError for a loss that is not finite, FitError for a checkpoint of
    another configuration, ConfigError for a batch that does not divide into the ranks' shares,
    and on SIGINT, with the checkpoint saved, InterruptedFitError.
    """
    ranks = ranks or Ranks(device)
    run = _Run(task, config, folder, device, ranks)
    path = folder / CHECKPOINT_FILE
    content = ranks.share(lambda: checkpoint.load(path) if path.exists() else None)
    if content is not None:
        run.restore(content)
    journal = (
        Journal(
            folder,
            epochs=config.fit.epochs,
            steps_per_epoch=task.steps_per_epoch,
            step=run.progress.step,
        )
        if ranks.is_main
        else nullcontext()
    )
    with journal as told, StopOnInterrupt() as stop:
        run.go(told, stop, watch)
    return run.progress


class _Run:
    """The state of one fit."""

    def __init__(
        self, task: Task, config: KindConfig, folder: Path, device: torch.device, ranks: Ranks
    ) -> None:
        ranks.check_batch(config.fit.batch_size)
        if ranks.size > 1 and config.privacy.epsilon:
            raise ConfigError(
                "privacy.epsilon makes a fit the work of one process; leave torchrun out",
                field="privacy.epsilon",
            )
        if task.steps_per_epoch < 1:
            raise FitError(
                f"the data give no full batch of {config.fit.batch_size}; "
                "set fit.batch_size lower or bring more data"
            )
        self.task, self.config, self.folder, self.device = task, config, folder, device
        self.ranks = ranks
        self.dtype = choose_dtype(config.fit, device, private=config.privacy.epsilon > 0)
        self.average = Average(task.modules[task.served], config.fit.ema_decay)
        ranks.prepare(task.modules)
        self.losses = [ranks.loss(phase, len(task.phases)) for phase in task.phases]
        self.optimizers = [task.optimizer(phase) for phase in task.phases]
        self.total_steps = config.fit.epochs * task.steps_per_epoch
        self.progress = Progress()
        # A phase steps its own module alone: the others' parameters need no gradient meanwhile.
        self.trained = {
            p.name: [w for w in p.module.parameters() if w.requires_grad] for p in task.phases
        }

    def go(self, journal: Journal | None, stop: StopOnInterrupt, watch: Watch | None) -> None:
        """Run the steps that are left."""
        task, progress, fit_config, ranks = self.task, self.progress, self.config.fit, self.ranks
        saved_at = clock = time.monotonic()
        while progress.step < self.total_steps and not progress.stopped:
            epoch, step = divmod(progress.step, task.steps_per_epoch)
            torch.manual_seed(derive(fit_config.seed, "step", progress.step))
            batch = ranks.shard(task.batch(epoch, step), fit_config.seed, progress.step)
            figures = self.step(batch)
            due = time.monotonic() - saved_at > fit_config.checkpoint_every_s
            # Ranks agree on when to stop and to save in the same meeting that averages figures.
            figures = ranks.mean(figures | {"stop": float(stop.wanted), "save": float(due)})
            stops, saves = figures.pop("stop") > 0, figures.pop("save") > 0
            self.check_finite(figures)
            if ranks.is_main:
                self.average.update(task.modules[task.served], progress.step)
            progress.add(figures)
            now = time.monotonic()
            progress.elapsed_s, clock = progress.elapsed_s + now - clock, now
            if journal is not None:
                journal.advance(epoch)
            if progress.step % task.steps_per_epoch == 0:
                progress.stopped = ranks.share(partial(self.end_epoch, epoch, journal, watch))
                progress.sums = {}
                saves = True
            if saves or stops:
                if ranks.is_main:
                    self.save()
                saved_at = time.monotonic()
            if stops:
                raise InterruptedFitError(
                    f"stopped after step {progress.step}; the checkpoint is saved"
                )

    def step(self, batch: Batch) -> dict[str, float]:
        """Every phase whose turn it is, once; returns the step's figures."""
        figures: dict[str, float] = {}
        place = self.progress.step, self.task.steps_per_epoch, self.total_steps
        for phase, compute, optimizer in zip(
            self.task.phases, self.losses, self.optimizers, strict=True
        ):
            progress = phase.progress(*place)
            if progress is None:
                continue
            self.focus(phase)
            scale = learning_rate_scale(self.config.schedule, progress)
            set_learning_rate(optimizer, scale)
            optimizer.zero_grad(set_to_none=True)
            phase.module.train()
            with autocast(self.dtype, self.device):
                loss, extra = compute(batch)
            loss.backward()  # type: ignore[no-untyped-call]
            if self.config.fit.clip_norm:
                norm = nn.utils.clip_grad_norm_(self.trained[phase.name], self.config.fit.clip_norm)
                figures[f"{phase.name}_grad_norm"] = float(norm)
            optimizer.step()
            figures[f"{phase.name}_loss"] = loss.item()
            figures.update({key: float(item) for key, item in extra.items()})
        return figures

    def check_finite(self, figures: Mapping[str, float]) -> None:
        """Raise DivergedError for a loss that is not finite; figures are the same on all ranks."""
        for phase in self.task.phases:
            value = figures.get(f"{phase.name}_loss", 0.0)  # absent outside the phase's epochs
            if not math.isfinite(value):
                raise DivergedError(
                    f"the loss of phase {phase.name!r} became {value} at step "
                    f"{self.progress.step} of {self.total_steps}; try a lower rate "
                    f"(--set optimizer.lr={phase.optimizer.lr / 3:.1g}), --set fit.clip_norm=1 "
                    "or --set fit.precision=float32"
                )

    def focus(self, phase: Phase) -> None:
        """Let gradients reach this phase's parameters alone."""
        if len(self.trained) > 1:
            for name, parameters in self.trained.items():
                for parameter in parameters:
                    parameter.requires_grad_(name == phase.name)

    def end_epoch(self, epoch: int, journal: Journal | None, watch: Watch | None) -> bool:
        """Average the figures, validate where due, keep the best; returns whether to stop."""
        progress, fit_config = self.progress, self.config.fit
        line: dict[str, Any] = {
            "epoch": epoch + 1,
            "step": progress.step,
            "elapsed_s": round(progress.elapsed_s, 1),
        }
        line |= {key: total / self.task.steps_per_epoch for key, total in progress.sums.items()}
        last = epoch + 1 == fit_config.epochs
        if last or (epoch + 1) % fit_config.validate_every == 0:
            line |= self.task.validate(self.average.module, self.folder / SAMPLES_FOLDER, epoch + 1)
            self.keep_best(line, epoch + 1)
        if journal is not None:
            journal.record(line)
        if watch is not None:
            watch(line)
        return 0 < fit_config.patience <= progress.stale

    def keep_best(self, figures: dict[str, Any], epoch: int) -> None:
        """Save the averaged weights if they are the best so far (or have nothing to compare), or
        if the last ones are to be kept.
        """
        progress, monitor = self.progress, self.task.monitor
        better = monitor is None or progress.improves(float(figures[monitor[0]]), monitor[1])
        progress.stale = 0 if better else progress.stale + 1
        if not better and self.config.fit.keep == "best":
            return
        progress.best_epoch = epoch
        checkpoint.save(
            self.folder / BEST_FILE,
            {"weights": self.average.module.state_dict(), "epoch": epoch},
        )

    def save(self) -> None:
        """Write everything that the next step depends on."""
        checkpoint.save(
            self.folder / CHECKPOINT_FILE,
            {
                "config": to_dict(self.config),
                "config_sha256": config_sha256(self.config),
                "progress": vars(self.progress).copy(),
                "modules": {n: m.state_dict() for n, m in self.task.modules.items()},
                "average": self.average.module.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            },
        )

    def restore(self, content: dict[str, Any]) -> None:
        """Go on where `content` stopped; raises FitError if its configuration differs."""
        if content["config_sha256"] != config_sha256(self.config):
            raise FitError(
                f"{self.folder / CHECKPOINT_FILE} belongs to another configuration; give the "
                "same preset and --set as before, or another --run-dir"
            )
        for name, module in self.task.modules.items():
            module.load_state_dict(content["modules"][name])
        self.average.module.load_state_dict(content["average"])
        for optimizer, state in zip(self.optimizers, content["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.progress = Progress(**content["progress"])
