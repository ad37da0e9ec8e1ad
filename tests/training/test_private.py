"""Private training: what it guarantees is that of its parts, so they are checked one by one."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.training.conformance import case
from training.cli import main
from training.config import override
from training.distributed import Ranks
from training.errors import ConfigError
from training.export import export_graph
from training.kinds import kinds
from training.loop import fit
from training.networks.charlstm import CharLstm
from training.networks.separable import replace_norms, separable
from training.networks.whitening import Whitening
from training.private import PrivateTask, guard, natural_noise
from training.publish import served_manifest
from training.verify import verify_graph

CPU = torch.device("cpu")
SETTINGS = ["privacy.epsilon=8", "privacy.delta=1e-3", "fit.clip_norm=0", "fit.batch_size=32"]
PRIVATE_KINDS = ["cnn", "lstm"]


def private_task(
    kind: str, sources: dict[str, Path], cache_dir: Path, *settings: str
) -> tuple[PrivateTask, Any, Any]:
    family = kinds()[kind]
    config = override(family.presets["tiny"], [*SETTINGS, *settings])
    data = family.load_data(str(sources[kind]), cache_dir)
    task = guard(family.task(config, data, CPU), config)
    assert isinstance(task, PrivateTask)
    return task, config, data


def test_without_an_epsilon_nothing_changes(sources: dict[str, Path], cache_dir: Path) -> None:
    family = kinds()["lstm"]
    config = family.presets["tiny"]
    task = family.task(config, family.load_data(str(sources["lstm"]), cache_dir), CPU)
    assert guard(task, config) is task


@pytest.mark.parametrize("kind", PRIVATE_KINDS)
def test_a_private_fit_learns_stays_within_its_budget_and_exports(
    kind: str, sources: dict[str, Path], cache_dir: Path, tmp_path: Path
) -> None:
    task, config, data = private_task(kind, sources, cache_dir)
    network = task.modules[task.served]
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    progress = fit(task, config, tmp_path, CPU)
    for name, weight in network.named_parameters():
        assert weight.requires_grad == (not torch.equal(weight, before[name])), name
    spent = task.spent(progress.step)
    assert 0 < spent.epsilon <= 8 * 1.01
    assert spent.epsilon > 7  # no more noise than the budget asks for
    assert task.spent(progress.step // 2).epsilon < spent.epsilon
    plan = kinds()[kind].export(config, data, network.eval())
    export_graph(plan, tmp_path / "model.onnx")
    assert verify_graph(plan, tmp_path / "model.onnx", 1).batch_sizes


def test_one_example_moves_the_weights_by_no_more_than_the_clip_norm(
    sources: dict[str, Path], cache_dir: Path
) -> None:
    """Without noise, steps with and without an example differ by at most lr * clip / batch."""
    rate, clip, moved = 1.0, 0.01, []
    for left_out in (0, 1):
        task, _, _ = private_task(
            "cnn",
            sources,
            cache_dir,
            *("optimizer.name=sgd", f"optimizer.lr={rate}", "optimizer.momentum=0"),
            *("optimizer.nesterov=false", f"privacy.clip_norm={clip}"),
        )
        vars(task)["noise_multiplier"] = 0.0
        optimizer = task.optimizer(task.phases[0])
        torch.manual_seed(0)
        batch = {
            key: rows[: len(rows) - left_out]
            for key, rows in task.task.gather(torch.arange(32), 0).items()
        }
        task.counterpart.train()
        loss, _ = task.phases[0].loss(batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        weights = task.modules["network"].parameters()
        moved.append(torch.cat([weight.detach().flatten() for weight in weights]))
    apart = float((moved[0] - moved[1]).norm())
    assert 0 < apart <= rate * clip / 32 * 1.001


@pytest.mark.parametrize(
    ("kind", "network_settings"),
    [
        ("lstm", ["network.dropout=0"]),
        ("cnn", ["network.architecture=textbook"]),
        ("cnn", ["network.architecture=airbench"]),
    ],
)
def test_without_noise_or_clipping_a_step_is_the_ordinary_one(
    kind: str, network_settings: list[str], sources: dict[str, Path], cache_dir: Path
) -> None:
    settings = ["optimizer.name=sgd", "optimizer.lr=0.1", "optimizer.momentum=0"]
    settings += ["optimizer.nesterov=false", "privacy.clip_norm=1e6"]
    task, _, _ = private_task(kind, sources, cache_dir, *settings, *network_settings)
    vars(task)["noise_multiplier"] = 0.0
    network = task.modules["network"]
    ordinary = copy.deepcopy(network).train()
    torch.manual_seed(0)
    batch = task.task.gather(torch.arange(32), 0)
    for module, optimizer in (
        (network, task.optimizer(task.phases[0])),
        (ordinary, torch.optim.SGD(ordinary.parameters(), lr=0.1)),
    ):
        task.counterpart.train()
        if module is ordinary:
            task.task.modules = {"network": ordinary}
        loss, _ = task.phases[0].loss(batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for one, other in zip(network.parameters(), ordinary.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_noise_and_samples_are_secret_and_new_each_time(
    sources: dict[str, Path], cache_dir: Path
) -> None:
    drawn = []
    for _ in range(2):
        task, _, _ = private_task("cnn", sources, cache_dir)
        torch.manual_seed(0)
        drawn.append([len(task.batch(0, step)["label"]) for step in range(12)])
    assert drawn[0] != drawn[1]
    sizes = torch.tensor(drawn[0] + drawn[1]).float()
    assert len(sizes.unique()) > 1  # Poisson sampling: no batch has a fixed size
    # 24 draws from 80 images at 0.4: mean 32, deviation of the mean 0.9.
    assert abs(float(sizes.mean()) - 32) < 6 * math.sqrt(80 * 0.4 * 0.6 / 24)


def test_cells_with_the_lstms_parameters_compute_what_it_computes() -> None:
    torch.manual_seed(0)
    network = CharLstm(11, embedding=5, hidden=7, layers=2, dropout=0.0)
    counterpart = separable(network)
    token_BT = torch.randint(0, 11, (3, 9))
    for a, b in zip(network(token_BT), counterpart(token_BT), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    assert {id(weight) for weight in counterpart.parameters()} == {
        id(weight) for weight in network.parameters()
    }
    assert isinstance(network.lstm, nn.LSTM)


def test_group_norms_take_the_place_of_batch_norms() -> None:
    network = nn.Sequential(nn.Conv2d(3, 48, 3), nn.BatchNorm2d(48), nn.ReLU())
    network[1].weight.requires_grad_(False)
    replace_norms(network)
    assert isinstance(network[1], nn.GroupNorm)
    assert network[1].num_groups == 16
    assert not network[1].weight.requires_grad


def test_whitening_is_fitted_to_no_training_image(
    sources: dict[str, Path], cache_dir: Path
) -> None:
    task, _, _ = private_task("cnn", sources, cache_dir)
    (whitening,) = (m for m in task.modules["network"].modules() if isinstance(m, Whitening))
    fitted = Whitening()
    fitted.fit(natural_noise())
    assert torch.equal(whitening.filters.weight, fitted.filters.weight)


def test_natural_noise_has_neighbours_that_look_alike() -> None:
    noise_BCHW = natural_noise(64)
    assert float(noise_BCHW.mean()) == pytest.approx(0, abs=1e-5)
    assert float(noise_BCHW.std()) == pytest.approx(1, abs=1e-3)
    beside = F.cosine_similarity(noise_BCHW[..., 1:].flatten(), noise_BCHW[..., :-1].flatten(), 0)
    assert 0.93 < float(beside) < 0.97


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("gan", ["privacy.epsilon=8"], "this kind cannot be trained privately"),
        ("lstm", [*SETTINGS, "fit.clip_norm=1"], "fit.clip_norm is 1.0"),
        ("lstm", [*SETTINGS, "fit.batch_size=8"], "32 or more with privacy"),
        ("lstm", [*SETTINGS, "fit.precision=bfloat16"], "float32 with privacy"),
        ("lstm", [*SETTINGS, "network.weight_drop=0.5"], "network.weight_drop is 0.5"),
        ("cnn", [*SETTINGS, "optimizer.name=muon"], "sgd, adam or adamw with privacy"),
        ("cnn", [*SETTINGS, "fit.batch_size=64"], "at most half of the 80"),
    ],
)
def test_what_cannot_be_private_is_refused(
    sources: dict[str, Path], cache_dir: Path, kind: str, settings: list[str], message: str
) -> None:
    family = kinds()[kind]
    config = override(family.presets["tiny"], settings)
    task = family.task(config, family.load_data(str(sources[kind]), cache_dir), CPU)
    with pytest.raises(ConfigError, match=message):
        guard(task, config)


def test_a_private_fit_is_the_work_of_one_process(
    sources: dict[str, Path], cache_dir: Path, tmp_path: Path
) -> None:
    task, config, _ = private_task("cnn", sources, cache_dir)
    with pytest.raises(ConfigError, match="leave torchrun out"):
        fit(task, config, tmp_path, CPU, ranks=Ranks(CPU, 0, 2))


def test_the_manifest_and_the_card_say_what_was_spent(
    sources: dict[str, Path], cache_dir: Path, tmp_path: Path
) -> None:
    words = ["run", "--kind", "lstm", "--preset", "tiny", "--data", str(sources["lstm"])]
    words += ["--runs", str(tmp_path / "runs"), "--store", str(tmp_path / "models")]
    words += ["--cache-dir", str(cache_dir)]
    for setting in SETTINGS:
        words += ["--set", setting]
    for metric, floor in case("lstm").FLOORS.items():
        words += ["--floor", f"{metric}={floor}"]
    assert main(words) == 0
    manifest = served_manifest(tmp_path / "models", "shakespeare")
    assert manifest is not None
    assert 7 < manifest.metrics["epsilon"] <= 8 * 1.01
    assert manifest.metrics["delta"] == 1e-3
    assert manifest.training.config["privacy"]["epsilon"] == 8
    card = tmp_path / "models" / "shakespeare" / manifest.version / "card.md"
    assert "privacy spent on each training example" in card.read_text("utf-8")
