"""Quarters by what an image is like."""

from __future__ import annotations

import numpy as np

from training.measures.groups import QUARTERS, qualities, quarters, shares


def flat(level: int) -> np.ndarray:
    return np.full((16, 16, 3), level, np.uint8)


def test_each_quality_ranks_what_it_names() -> None:
    rng = np.random.default_rng(0)
    stripes = flat(100)
    stripes[::2] = 0
    red = flat(0)
    red[..., 0] = 255
    noisy = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
    images = np.stack([flat(10), flat(240), stripes, red, noisy])
    found = qualities(images)
    assert found["brightness"].argmin() == 0
    assert found["brightness"].argmax() == 1
    assert found["contrast"][2] > 40 > found["contrast"][[0, 1, 3]].max()
    assert found["colour"].argmax() == 3
    assert found["detail"].argmax() == 4
    assert np.allclose(found["brightness"][:2], [10, 240])


def test_quarters_are_equal_in_number_and_in_order() -> None:
    values = np.random.default_rng(0).random(1000)
    group = quarters(values)
    assert np.bincount(group).tolist() == [250] * QUARTERS
    for low, high in ((0, 1), (1, 2), (2, 3)):
        assert values[group == low].max() < values[group == high].min()


def test_equal_values_are_still_divided_equally() -> None:
    assert np.bincount(quarters(np.zeros(8))).tolist() == [2] * QUARTERS


def test_shares_count_each_group() -> None:
    right = np.array([True, False, True, True])
    found = shares(right, np.array([0, 0, 1, 3]), groups=4)
    assert [(one.successes, one.trials) for one in found] == [(1, 2), (1, 1), (0, 0), (1, 1)]
