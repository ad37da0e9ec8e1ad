from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.config import override
from training.configs.cnn import AugmentConfig, CnnConfig
from training.errors import ConfigError
from training.kinds import kinds
from training.loop import CHECKPOINT_FILE, fit
from training.presets.cnn import TINY
from training.pruning import Pruning

CPU = torch.device("cpu")
IMAGES, SHARE = 100, 0.6


def chosen(pruning: Pruning, epoch: int, progress: float) -> tuple[torch.Tensor, torch.Tensor]:
    pruning.choose(epoch, progress)
    index, weight, _ = pruning.pick(0, pruning.shown_images)
    return index, weight


def test_half_of_the_easy_images_are_left_out_and_all_hard_ones_are_shown() -> None:
    pruning = Pruning(IMAGES, SHARE, seed=1)
    assert pruning.shown_images == 70
    loss = torch.randperm(IMAGES).float()  # 60 of them are below 60
    pruning.learn(torch.arange(IMAGES), loss)
    index, weight = chosen(pruning, 1, 0.1)
    assert len(index.unique()) == 70
    easy = loss[index] < 60
    assert int(easy.sum()) == 30
    assert weight[easy].unique().tolist() == pytest.approx([2 * 0.7])
    assert weight[~easy].unique().tolist() == pytest.approx([0.7])
    assert float(weight.mean()) == pytest.approx(1.0)


def test_every_image_counts_as_much_as_without_pruning_on_average() -> None:
    pruning = Pruning(IMAGES, SHARE, seed=1)
    pruning.learn(torch.arange(IMAGES), torch.arange(IMAGES).float())
    total = torch.zeros(IMAGES)
    for epoch in range(1, 1001):
        index, weight = chosen(pruning, epoch, 0.1)
        total[index] += weight / 0.7
    easy, hard = total[:60] / 1000, total[60:] / 1000
    assert torch.allclose(hard, torch.ones(40), atol=1e-3)  # always there
    assert float(easy.mean()) == pytest.approx(1.0, abs=1e-3)
    assert float((easy - 1).abs().max()) < 0.15  # a thousand coins each


@pytest.mark.parametrize(("epoch", "progress"), [(0, 0.0), (9, 0.9)])
def test_no_image_is_preferred_at_first_and_in_the_last_eighth(epoch: int, progress: float) -> None:
    pruning = Pruning(IMAGES, SHARE, seed=1)
    pruning.learn(torch.arange(IMAGES), torch.arange(IMAGES).float())
    index, weight = chosen(pruning, epoch, progress)
    assert len(index.unique()) == 70
    assert weight.unique().tolist() == [1.0]
    assert int((index < 60).sum()) > 30


def test_images_that_were_never_seen_are_hard() -> None:
    pruning = Pruning(IMAGES, SHARE, seed=1)
    seen = torch.arange(0, 70)
    pruning.learn(seen, torch.rand(70) * 100)
    index, _ = chosen(pruning, 1, 0.1)
    assert set(range(70, 100)) <= set(index.tolist())


def test_the_loss_of_two_images_in_one_is_not_remembered() -> None:
    pruning = Pruning(4, SHARE, seed=1)
    pruning.learn(torch.tensor([3, 1]), torch.tensor([0.5, 0.7]), torch.tensor([1.0, 0.9]))
    assert pruning.loss.tolist() == [torch.inf, torch.inf, torch.inf, 0.5]


def test_an_epochs_choice_stays_though_losses_come_in_and_survives_a_checkpoint() -> None:
    pruning = Pruning(IMAGES, SHARE, seed=1)
    pruning.learn(torch.arange(IMAGES), torch.rand(IMAGES))
    first, _ = chosen(pruning, 1, 0.1)
    pruning.learn(torch.arange(IMAGES), torch.rand(IMAGES))
    again = Pruning(IMAGES, SHARE, seed=1)
    again.load_state_dict(pruning.state_dict())
    for one in (pruning, again):
        assert torch.equal(chosen(one, 1, 0.1)[0], first)
    assert torch.equal(chosen(pruning, 2, 0.2)[0], chosen(again, 2, 0.2)[0])
    assert not torch.equal(chosen(pruning, 3, 0.2)[0], first)


def config(**changes: object) -> CnnConfig:
    plain = replace(TINY, augment=AugmentConfig(flip=True), pruned=0.5)
    return override(plain, [f"{key.replace('__', '.')}={value}" for key, value in changes.items()])


def test_an_image_is_mirrored_at_every_other_time_that_it_is_shown(
    sources: dict[str, Path], cache_dir: Path
) -> None:
    kind = kinds()["cnn"]
    task = kind.task(config(), kind.load_data(str(sources["cnn"]), cache_dir), CPU)
    last: dict[int, torch.Tensor] = {}
    turned = 0
    for epoch in range(6):
        for step in range(task.steps_per_epoch):
            batch = task.batch(epoch, step)
            task.modules["pruning"].learn(batch["index"], torch.rand(len(batch["index"])))
            for index, image in zip(batch["index"].tolist(), batch["image"], strict=True):
                if index in last:
                    torch.testing.assert_close(last[index], image.flip(2))
                    turned += 1
                last[index] = image
    assert turned > len(last)


def test_a_fit_sees_fewer_images_an_epoch_and_goes_on_bit_for_bit_from_a_checkpoint(
    sources: dict[str, Path], cache_dir: Path, tmp_path: Path
) -> None:
    kind = kinds()["cnn"]
    data = kind.load_data(str(sources["cnn"]), cache_dir)
    settings = config(fit__epochs=4, fit__batch_size=4)
    whole = kind.task(settings, data, CPU)
    assert whole.steps_per_epoch == (len(data.train.labels) - len(data.train.labels) // 4) // 4
    fit(whole, settings, tmp_path / "whole", CPU)

    class LeftError(Exception):
        pass

    def leave(figures: object) -> None:
        if len(list((tmp_path / "halves").glob("*.pt"))) > 1:  # at the second epoch's end
            raise LeftError

    with pytest.raises(LeftError):
        fit(kind.task(settings, data, CPU), settings, tmp_path / "halves", CPU, watch=leave)
    fit(kind.task(settings, data, CPU), settings, tmp_path / "halves", CPU)
    ends = [
        torch.load(tmp_path / name / CHECKPOINT_FILE, weights_only=True)["modules"]
        for name in ("whole", "halves")
    ]
    for module in ends[0]:
        for name, value in ends[0][module].items():
            assert torch.equal(value, ends[1][module][name]), name
    assert ends[0]["pruning"]["seen"].sum() == 4 * whole.steps_per_epoch * 4


def test_pruning_is_a_share_and_not_for_private_fits() -> None:
    with pytest.raises(ConfigError, match="it must be 0 for a private fit, whose guarantee"):
        override(config(), ["privacy.epsilon=8"])
    with pytest.raises(ConfigError, match=r"pruned is 1\.0; it must be in \[0, 1\)"):
        config(pruned=1.0)
