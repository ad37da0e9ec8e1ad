from __future__ import annotations

import json
import math
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from training import checkpoint
from training.config import FitConfig, KindConfig, OptimizerConfig, ScheduleConfig, override
from training.errors import FitError, InterruptedFitError
from training.journal import read_metrics
from training.kinds import kinds
from training.loop import BEST_FILE, CHECKPOINT_FILE, fit
from training.progress import Progress
from training.tasks.base import Batch, Losses, Phase, Task

CPU = torch.device("cpu")


class Line(Task):
    """y = 2x by one weight; validation figures are given beforehand."""

    served = "network"
    monitor = ("val_loss", "min")
    steps_per_epoch = 4

    def __init__(self, figures: list[float] | None = None) -> None:
        torch.manual_seed(0)
        self.network = nn.Linear(1, 1)
        self.modules = {"network": self.network}
        self.phases = (
            Phase("train", self.network, self.loss, OptimizerConfig(name="sgd", lr=0.1)),
        )
        self.figures = figures or []
        self.scale = 1.0

    def batch(self, epoch: int, step: int) -> Batch:
        return {"x": torch.randn(8, 1)}

    def loss(self, batch: Batch) -> Losses:
        error = self.network(batch["x"]) - 2 * batch["x"]
        return self.scale * (error**2).mean(), {"error": error.detach().abs().mean()}

    def validate(self, network: nn.Module, folder: Path, epoch: int) -> dict[str, float]:
        return {"val_loss": self.figures[epoch - 1] if self.figures else 1.0 / epoch}


def settings(**fit_settings: Any) -> KindConfig:
    return KindConfig(
        fit=FitConfig(batch_size=8, precision="float32", **fit_settings),
        schedule=ScheduleConfig(name="constant", warmup=0.0),
    )


def content(folder: Path) -> dict[str, Any]:
    """A checkpoint without its clock."""
    found = checkpoint.load(folder / CHECKPOINT_FILE)
    found["progress"].pop("elapsed_s")
    return found


def same(a: Any, b: Any) -> bool:
    """Equal, tensors bit for bit."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def figures_of(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k != "elapsed_s"} for line in read_metrics(folder)]


@pytest.mark.parametrize("stop_at", ["between epochs", "inside an epoch"])
@pytest.mark.parametrize(
    ("kind", "changes"),
    [*((kind, []) for kind in sorted(kinds())), ("cnn", ["optimizer.name=muon"])],
)
def test_a_resumed_fit_ends_bit_for_bit_like_an_unbroken_one(
    kind: str,
    changes: list[str],
    stop_at: str,
    sources: dict[str, Path],
    cache_dir: Path,
    tmp_path: Path,
) -> None:
    family = kinds()[kind]
    config = override(family.presets["tiny"], ["fit.epochs=4", *changes])
    data = family.load_data(str(sources[kind]), cache_dir)
    unbroken = family.task(config, data, CPU)
    fit(unbroken, config, tmp_path / "unbroken", CPU)

    broken = family.task(config, data, CPU)
    stop = 2 * broken.steps_per_epoch - (1 if stop_at == "between epochs" else 2)
    made, original = 0, broken.batch

    def batch(epoch: int, step: int) -> Batch:
        nonlocal made
        if made == stop:
            signal.raise_signal(signal.SIGINT)
        made += 1
        return original(epoch, step)

    broken.batch = batch  # type: ignore[method-assign]
    with pytest.raises(InterruptedFitError):
        fit(broken, config, tmp_path / "broken", CPU)
    assert content(tmp_path / "broken")["progress"]["step"] == stop + 1

    resumed = family.task(config, data, CPU)  # fresh weights, as a new process has
    fit(resumed, config, tmp_path / "broken", CPU)

    assert same(content(tmp_path / "broken"), content(tmp_path / "unbroken"))
    assert same(
        checkpoint.load(tmp_path / "broken" / BEST_FILE),
        checkpoint.load(tmp_path / "unbroken" / BEST_FILE),
    )
    assert figures_of(tmp_path / "broken") == figures_of(tmp_path / "unbroken")
    assert len(figures_of(tmp_path / "broken")) == 4


def test_another_seed_gives_another_result(
    sources: dict[str, Path], cache_dir: Path, tmp_path: Path
) -> None:
    family = kinds()["cnn"]
    data = family.load_data(str(sources["cnn"]), cache_dir)
    weights = []
    for seed in (1, 2):
        config = override(family.presets["tiny"], [f"fit.seed={seed}", "fit.epochs=1"])
        fit(family.task(config, data, CPU), config, tmp_path / str(seed), CPU)
        weights.append(checkpoint.load(tmp_path / str(seed) / BEST_FILE)["weights"])
    assert not same(*weights)


def test_the_line_is_learnt(tmp_path: Path) -> None:
    task = Line()
    fit(task, settings(epochs=40), tmp_path, CPU)
    assert float(task.network.weight.detach()) == pytest.approx(2.0, abs=1e-3)


def test_early_stop_keeps_the_best_epoch(tmp_path: Path) -> None:
    task = Line([0.9, 0.5, 0.6, 0.7, 0.4])
    progress = fit(task, settings(epochs=5, patience=2), tmp_path, CPU)
    assert progress.stopped
    assert (progress.step, progress.best, progress.best_epoch) == (16, 0.5, 2)
    assert checkpoint.load(tmp_path / BEST_FILE)["epoch"] == 2


def test_without_a_monitor_the_last_epoch_is_kept(tmp_path: Path) -> None:
    task = Line([0.1, 0.9])
    task.monitor = None
    assert fit(task, settings(epochs=2), tmp_path, CPU).best_epoch == 2


def test_the_last_epoch_is_kept_where_the_configuration_says_so(tmp_path: Path) -> None:
    progress = fit(Line([0.1, 0.9]), settings(epochs=2, keep="last"), tmp_path, CPU)
    assert (progress.best, progress.best_epoch) == (0.1, 2)
    assert checkpoint.load(tmp_path / BEST_FILE)["epoch"] == 2


def test_a_figure_that_is_not_finite_is_never_the_best(tmp_path: Path) -> None:
    progress = fit(Line([math.nan, 0.9, math.nan]), settings(epochs=3), tmp_path, CPU)
    assert (progress.best, progress.best_epoch) == (0.9, 2)


def test_a_loss_that_is_not_finite_ends_the_run_with_advice(tmp_path: Path) -> None:
    task = Line()
    task.scale = math.inf
    with pytest.raises(FitError) as end:
        fit(task, settings(epochs=1), tmp_path, CPU)
    for part in ("'train'", "step 0 of 4", "optimizer.lr=", "fit.clip_norm=1", "precision=float32"):
        assert part in end.value.message


def test_gradients_are_clipped(tmp_path: Path) -> None:
    task = Line()
    task.scale = 1e6
    fit(task, settings(epochs=1, clip_norm=1e-3), tmp_path, CPU)
    assert read_metrics(tmp_path)[0]["train_grad_norm"] > 1e3
    assert abs(float(task.network.weight.detach()) - 2) > 0.1  # four steps of at most 1e-4


def test_averaged_weights_lag_behind_and_are_the_ones_served(tmp_path: Path) -> None:
    task = Line()
    fit(task, settings(epochs=1, ema_decay=0.9), tmp_path, CPU)
    served = checkpoint.load(tmp_path / BEST_FILE)["weights"]["weight"]
    assert not torch.equal(served, task.network.weight.detach())


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    fit(Line(), settings(epochs=1), tmp_path, CPU)
    with pytest.raises(FitError, match="another configuration"):
        fit(Line(), settings(epochs=2), tmp_path, CPU)


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / CHECKPOINT_FILE).write_bytes(damage)
    with pytest.raises(FitError, match="damaged"):
        fit(Line(), settings(epochs=1), tmp_path, CPU)


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    torch.save({"progress": Progress()}, tmp_path / CHECKPOINT_FILE)  # an arbitrary object
    with pytest.raises(FitError, match="damaged or not a checkpoint"):
        fit(Line(), settings(epochs=1), tmp_path, CPU)


def test_a_failed_save_leaves_the_checkpoint_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pt"
    checkpoint.save(path, {"step": 1})

    def cut_off(value: object, file: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", cut_off)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(path, {"step": 2})
    assert checkpoint.load(path) == {"step": 1}
    assert [item.name for item in tmp_path.iterdir()] == ["a.pt"]


def test_too_little_data_for_a_batch_is_said(tmp_path: Path) -> None:
    task = Line()
    task.steps_per_epoch = 0
    with pytest.raises(FitError, match=r"set fit\.batch_size lower"):
        fit(task, settings(epochs=1), tmp_path, CPU)


def test_figures_go_to_tensorboard_and_to_lines_of_json(tmp_path: Path) -> None:
    fit(Line(), settings(epochs=2), tmp_path, CPU)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert {"step", "elapsed_s", "train_loss", "error", "val_loss"} <= lines[0].keys()
    events = list((tmp_path / "tensorboard").glob("events.*"))
    assert events and events[0].stat().st_size > 0


def test_a_gans_phases_train_their_own_network_alone(
    sources: dict[str, Path], cache_dir: Path, tmp_path: Path
) -> None:
    family = kinds()["gan"]
    preset = family.presets["tiny"]
    config = replace(preset, optimizer=replace(preset.optimizer, lr=1e-12), fit=settings().fit)
    config = override(config, ["fit.epochs=2"])
    task = family.task(config, family.load_data(str(sources["gan"]), cache_dir), CPU)
    before = {
        name: [weight.detach().clone() for weight in module.parameters()]
        for name, module in task.modules.items()
    }
    fit(task, config, tmp_path, CPU)
    moved = {
        name: max(
            float((old - new.detach()).abs().max())
            for old, new in zip(before[name], module.parameters(), strict=True)
        )
        for name, module in task.modules.items()
    }
    assert moved["generator"] < 1e-9
    assert moved["critic"] > 1e-5


def test_a_line_of_figures_cut_short_by_a_crash_is_written_again(tmp_path: Path) -> None:
    task = Line()
    fit(task, settings(epochs=2), tmp_path / "whole", CPU)
    broken = Line()
    with pytest.raises(ZeroDivisionError):
        broken.validate = lambda *_: {"val_loss": 1 / 0}  # type: ignore[method-assign]
        fit(broken, settings(epochs=2), tmp_path / "broken", CPU)
    (tmp_path / "broken" / "metrics.jsonl").write_text('{"epoch": 1, "st')
    fit(Line(), settings(epochs=2), tmp_path / "broken", CPU)
    assert figures_of(tmp_path / "broken") == figures_of(tmp_path / "whole")
