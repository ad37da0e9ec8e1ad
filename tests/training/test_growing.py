"""Images that begin small and grow while a classifier learns."""

from __future__ import annotations

import pytest
import torch

from training.augment import shrink
from training.configs.cnn import AugmentConfig
from training.errors import ConfigError
from training.tasks.classification import side


def test_sides_grow_in_steps_of_four_to_the_full_size() -> None:
    augment = AugmentConfig(first_px=20, grown_by=0.6)
    sides = [side(augment, 32, epoch / 18) for epoch in range(18)]
    assert sides == sorted(sides)
    assert sides[0] == 20
    assert set(sides) == {20, 24, 28, 32}
    assert sides[11:] == [32] * 7, "from the share `grown_by` on"


def test_without_a_first_side_nothing_shrinks() -> None:
    assert {side(AugmentConfig(), 32, progress / 10) for progress in range(10)} == {32}
    x_BCHW = torch.rand(2, 3, 32, 32)
    assert shrink(x_BCHW, 32) is x_BCHW


def test_a_first_side_above_the_images_own_leaves_them_as_they_are() -> None:
    assert side(AugmentConfig(first_px=64), 32, 0.0) == 32


def test_shrinking_keeps_the_mean_and_takes_what_is_covered() -> None:
    x_BCHW = torch.zeros(1, 1, 32, 32)
    x_BCHW[:, :, :16] = 1.0
    small_BCHW = shrink(x_BCHW, 16)
    assert small_BCHW.shape == (1, 1, 16, 16)
    assert float(small_BCHW.mean()) == pytest.approx(0.5, abs=1e-6)
    assert float(small_BCHW[0, 0, 0, 0]) == pytest.approx(1.0, abs=1e-6)
    assert float(small_BCHW[0, 0, -1, 0]) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("setting", "value"), [("first_px", 8), ("first_px", -1), ("grown_by", 1.5)]
)
def test_what_cannot_be_is_refused(setting: str, value: float) -> None:
    with pytest.raises(ConfigError, match=setting):
        AugmentConfig(**{setting: value})
