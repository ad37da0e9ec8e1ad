"""Batches, losses and networks of the three tasks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from training.config import OptimizerConfig, override
from training.errors import ConfigError
from training.kinds import kinds
from training.networks.charlstm import CharLstm
from training.networks.dcgan import DcganGenerator, fold_transposed_norms
from training.networks.projgan import ProjectionGenerator, fold_conditional_norms
from training.networks.served import ServedGenerator
from training.networks.whitening import Whitening
from training.tasks.adversarial import realness_loss, settle_statistics, to_uint8
from training.tasks.base import Batch, Losses, Phase
from training.tasks.classification import SETTLING_BATCHES, normalise, split_training
from training.tasks.language import encode, window_losses

CPU = torch.device("cpu")


def test_an_epoch_shows_every_training_image_once(
    sources: dict[str, Path], cache_dir: Path
) -> None:
    family = kinds()["cnn"]
    config = replace(family.presets["tiny"], augment=type(family.presets["tiny"].augment)())
    data = family.load_data(str(sources["cnn"]), cache_dir)
    task = family.task(config, data, CPU)
    shown = torch.cat([task.batch(0, step)["image"] for step in range(task.steps_per_epoch)])
    expected = normalise(torch.from_numpy(data.train.images), task.mean, task.deviation)
    assert shown.shape == expected.shape
    assert torch.equal(shown.flatten(1).sort(0).values, expected.flatten(1).sort(0).values)


def test_images_are_normalised_to_mean_0_and_deviation_1(
    sources: dict[str, Path], cache_dir: Path
) -> None:
    family = kinds()["cnn"]
    task = family.task(
        family.presets["tiny"], family.load_data(str(sources["cnn"]), cache_dir), CPU
    )
    x = normalise(task.images, task.mean, task.deviation)
    assert x.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-3)
    assert x.std(dim=(0, 2, 3)).tolist() == pytest.approx([1, 1, 1], abs=1e-2)


def test_the_same_images_are_held_out_whatever_the_seed(
    sources: dict[str, Path], cache_dir: Path
) -> None:
    """A run that starts from another's weights is not judged by what the other learnt from."""
    kind = kinds()["cnn"]
    data = kind.load_data(str(sources["cnn"]), cache_dir)
    first = override(kind.presets["tiny"], ["validation_share=0.25"])
    kept, held_out = split_training(first, data)
    assert held_out is not None
    assert len(kept.labels) + len(held_out.labels) == len(data.train.labels)
    again = split_training(override(first, ["fit.seed=2"]), data)[1]
    assert again is not None
    np.testing.assert_array_equal(again.images, held_out.images)


def test_a_mixtures_norms_hold_the_statistics_of_its_own_maps(
    sources: dict[str, Path], cache_dir: Path
) -> None:
    kind = kinds()["cnn"]
    config = override(kind.presets["tiny"], ["augment.flip=false", "augment.translate_px=0"])
    config = override(config, ["augment.cutout_px=0"])
    task = kind.task(config, kind.load_data(str(sources["cnn"]), cache_dir), CPU)
    network = task.modules[task.served].eval()
    (norm, *_) = (part for part in network.modules() if isinstance(part, nn.BatchNorm2d))
    momentum = norm.momentum
    norm.running_mean.fill_(7.0)
    norm.running_var.fill_(1e6)
    task.settle(network)
    seen: list[torch.Tensor] = []
    watching = norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        for step in range(min(SETTLING_BATCHES, task.steps_per_epoch)):
            network(task.batch(config.fit.epochs, step)["image"])
    watching.remove()
    maps = torch.cat(seen)
    torch.testing.assert_close(norm.running_mean, maps.mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    within = torch.stack([one.var(dim=(0, 2, 3)) for one in seen]).mean(dim=0)
    torch.testing.assert_close(norm.running_var, within, rtol=1e-4, atol=1e-5)
    assert norm.momentum == momentum


def test_windows_are_of_the_text_and_predict_its_next_character(
    sources: dict[str, Path], cache_dir: Path
) -> None:
    family = kinds()["lstm"]
    data = family.load_data(str(sources["lstm"]), cache_dir)
    config = family.presets["tiny"]
    task = family.task(config, data, CPU)
    starts = set()
    for step in range(task.steps_per_epoch):
        batch = task.batch(0, step)
        for token, following in zip(batch["token"], batch["next"], strict=True):
            text = "".join(data.vocabulary[index] for index in token)
            assert text in data.train
            assert torch.equal(token[1:], following[:-1])
            starts.add(text)
    assert len(starts) > 0.9 * task.steps_per_epoch * config.fit.batch_size


def test_window_losses_are_cross_entropies_from_the_zero_state() -> None:
    torch.manual_seed(0)
    network = CharLstm(7, embedding=4, hidden=6, layers=2, dropout=0.5).eval()
    tokens = torch.randint(0, 7, (25,))
    found = window_losses(network, tokens, 8)
    assert found.shape == (3, 8)
    logits, _ = network(tokens[None, 8:16])
    expected = F.cross_entropy(logits[0], tokens[9:17], reduction="none")
    torch.testing.assert_close(found[1], expected)


def test_one_hot_characters_are_not_trained() -> None:
    network = CharLstm(5, embedding=0, hidden=4, layers=1, dropout=0.0)
    assert torch.equal(network.embedding.weight, torch.eye(5))
    assert not network.embedding.weight.requires_grad


def test_encode_is_the_vocabularys_order() -> None:
    assert encode("cab", "abc").tolist() == [2, 0, 1]


def test_realness_losses_are_those_of_the_papers() -> None:
    score = torch.tensor([-2.0, 0.0, 0.5, 3.0])
    assert float(realness_loss(score, True, "hinge")) == pytest.approx((3 + 1 + 0.5 + 0) / 4)
    assert float(realness_loss(score, False, "hinge")) == pytest.approx((0 + 1 + 1.5 + 4) / 4)
    for real, target in ((True, 1.0), (False, 0.0)):
        expected = F.binary_cross_entropy_with_logits(score, torch.full((4,), target))
        torch.testing.assert_close(realness_loss(score, real, "cross_entropy"), expected)


@pytest.mark.parametrize("architecture", ["dcgan", "projection"])
def test_folded_norms_draw_the_same_pictures(architecture: str) -> None:
    torch.manual_seed(0)
    network = (
        DcganGenerator(3, 8, 8)
        if architecture == "dcgan"
        else ProjectionGenerator(3, 8, (16, 16, 8))
    )
    noise, label = torch.randn(40, 8), torch.randint(0, 3, (40,))
    for _ in range(5):
        network(noise, label)  # gives the running statistics something to hold
    network.eval()
    folded = fold_transposed_norms(fold_conditional_norms(network))
    with torch.no_grad():
        torch.testing.assert_close(
            folded(noise, label), network(noise, label), atol=1e-5, rtol=1e-4
        )
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())


def test_settled_statistics_are_those_of_the_weights_as_they_are() -> None:
    family = kinds()["gan"]
    config = family.presets["tiny"]
    widths = config.network.generator_widths
    torch.manual_seed(0)
    network = ProjectionGenerator(4, config.network.noise, widths)
    settle_statistics(network, config, 4, CPU)
    once = {key: value.clone() for key, value in network.state_dict().items()}
    network.norm.norm.running_var.fill_(1e6)  # type: ignore[union-attr]
    settle_statistics(network, config, 4, CPU)
    for key, value in network.state_dict().items():
        assert torch.equal(value, once[key]), key
    assert not network.training


def test_grey_levels_are_rounded_alike_in_training_and_in_serving() -> None:
    levels = torch.linspace(-1.2, 1.2, 48).view(1, 3, 4, 4)

    class Fixed(torch.nn.Module):
        def forward(self, noise: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
            return levels

    served = ServedGenerator(Fixed())(torch.zeros(1), torch.zeros(1)).numpy()
    np.testing.assert_array_equal(served, to_uint8(levels))
    assert (served.min(), served.max()) == (0, 255)


def test_whitened_patches_are_uncorrelated_and_come_with_their_negatives() -> None:
    torch.manual_seed(0)
    flat = torch.randn(400, 3, 4, 4)
    x = flat + 2 * flat.mean(dim=1, keepdim=True) + flat.roll(1, dims=3)  # correlated every way
    whitening = Whitening()
    whitening.fit(x, floor=0.0)
    y = whitening.filters(x).transpose(0, 1).flatten(1)
    half = len(y) // 2
    torch.testing.assert_close(y[:half], -y[half:])
    covariance = y[:half] @ y[:half].T / y.shape[1]
    torch.testing.assert_close(covariance, torch.eye(half), atol=1e-3, rtol=0)
    assert not any(weight.requires_grad for weight in whitening.parameters())


@pytest.mark.parametrize(("preset", "passes"), [("dcgan", 2), ("tiny", 1)])
def test_real_and_drawn_images_never_share_batch_statistics(
    preset: str, passes: int, sources: dict[str, Path], cache_dir: Path
) -> None:
    family = kinds()["gan"]
    data = family.load_data(str(sources["gan"]), cache_dir)
    config = override(family.presets[preset], ["fit.batch_size=8"])
    task = family.task(config, data, CPU)
    seen: list[int] = []
    task.modules["critic"].register_forward_pre_hook(
        lambda module, inputs: seen.append(len(inputs[0]))
    )
    critic = next(phase for phase in task.phases if phase.name == "critic")
    loss, figures = critic.loss(task.batch(0, 0))
    assert seen == [16 // passes] * passes
    assert torch.isfinite(loss)
    assert {"critic_real", "critic_fake"} <= figures.keys()


def test_a_phase_has_its_turn_in_its_own_epochs() -> None:
    def loss(batch: Batch) -> Losses:
        raise AssertionError

    module, optimizer = torch.nn.Linear(1, 1), OptimizerConfig()
    always = Phase("always", module, loss, optimizer)
    assert [always.progress(step, 5, 20) for step in (0, 10, 15)] == [0.0, 0.5, 0.75]
    early = Phase("early", module, loss, optimizer, (0, 2))
    assert [early.progress(step, 5, 20) for step in (0, 5, 10)] == [0.0, 0.5, None]
    late = Phase("late", module, loss, optimizer, (2, 4))
    assert [late.progress(step, 5, 20) for step in (9, 10, 15)] == [None, 0.0, 0.5]


def test_the_guide_learns_first_and_then_rests(sources: dict[str, Path], cache_dir: Path) -> None:
    family = kinds()["gan"]
    data = family.load_data(str(sources["gan"]), cache_dir)
    config = override(family.presets["tiny"], ["fit.epochs=3", "guide.epochs=1"])
    task = family.task(config, data, CPU)
    assert [(phase.name, phase.epochs) for phase in task.phases] == [
        ("guide", (0, 1)),
        ("critic", (1, 3)),
        ("generator", (1, 3)),
    ]
    guide = task.modules["guide"].requires_grad_(False)  # as the loop does for others' turns
    before = {key: value.clone() for key, value in guide.state_dict().items()}
    loss, figures = task.phases[2].loss(task.batch(1, 0))
    loss.backward()
    assert any(weight.grad is not None for weight in task.modules["generator"].parameters())
    assert "guide_class_fake" in figures  # what the guide thought of the drawn images
    for key, value in guide.state_dict().items():
        torch.testing.assert_close(value, before[key], atol=0, rtol=0)


def test_a_guide_without_a_guided_critic_speaks_to_the_generator_alone(
    sources: dict[str, Path], cache_dir: Path
) -> None:
    family = kinds()["gan"]
    settings = ["network.architecture=projection", "fit.epochs=3", "guide.epochs=1"]
    config = override(family.presets["tiny"], settings)
    task = family.task(config, family.load_data(str(sources["gan"]), cache_dir), CPU)
    assert [phase.name for phase in task.phases] == ["guide", "critic", "generator"]
    asked: list[int] = []
    task.modules["guide"].register_forward_pre_hook(
        lambda module, inputs: asked.append(len(inputs[0]))
    )
    batch = task.batch(1, 0)
    task.critic_loss(batch)
    assert asked == []
    torch.manual_seed(0)
    loss, figures = task.generator_loss(batch)
    assert asked == [config.fit.batch_size]
    assert "guide_class_fake" in figures and "critic_class_fake" not in figures
    without = override(config, ["guide.weight=0"])
    deaf = family.task(without, family.load_data(str(sources["gan"]), cache_dir), CPU)
    torch.manual_seed(0)
    assert deaf.generator_loss(batch)[0].item() < loss.item()  # by the guide's cross-entropy


@pytest.mark.parametrize("epochs", [0, 3])
def test_a_guided_run_needs_epochs_for_the_guide_and_for_the_players(epochs: int) -> None:
    with pytest.raises(ConfigError, match=r"guide\.epochs"):
        override(kinds()["gan"].presets["tiny"], ["fit.epochs=3", f"guide.epochs={epochs}"])


def test_dropped_recurrent_weights_change_training_alone() -> None:
    torch.manual_seed(0)
    plain = CharLstm(5, embedding=4, hidden=8, layers=2, dropout=0.0)
    dropped = CharLstm(5, embedding=4, hidden=8, layers=2, dropout=0.0, weight_drop=0.5)
    dropped.load_state_dict(plain.state_dict())
    token_BT = torch.randint(0, 5, (3, 7))
    expected, _ = plain(token_BT)
    torch.testing.assert_close(dropped.eval()(token_BT)[0], expected)
    logits_BTV, state_BS = dropped.train()(token_BT)
    assert not torch.allclose(logits_BTV, expected)
    assert state_BS.shape == (3, dropped.state_size)
    logits_BTV.sum().backward()
    assert all(weight.grad is not None for weight in dropped.lstm.parameters())
    nothing = CharLstm(5, embedding=4, hidden=8, layers=2, dropout=0.0, weight_drop=1e-9)
    nothing.load_state_dict(plain.state_dict())
    torch.testing.assert_close(nothing.train()(token_BT)[0], expected)
