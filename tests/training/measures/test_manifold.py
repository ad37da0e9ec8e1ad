"""Precision, recall, density and coverage; nearness to training examples."""

from __future__ import annotations

import numpy as np
import pytest

from training.measures.copying import compare_nearness
from training.measures.manifold import compare_manifolds

RANDOM = np.random.default_rng(0)
REAL = RANDOM.normal(size=(400, 3))


def test_a_set_like_the_real_one_is_near_1_in_all() -> None:
    found = compare_manifolds(RANDOM.normal(size=(400, 3)), REAL)
    assert min(found.precision, found.recall, found.coverage) > 0.8
    assert found.density == pytest.approx(1.0, abs=0.15)


def test_samples_far_from_all_are_0_in_all() -> None:
    found = compare_manifolds(REAL + 100.0, REAL)
    assert (found.precision, found.recall, found.density, found.coverage) == (0, 0, 0, 0)


def test_a_generator_of_one_half_is_precise_and_recalls_half() -> None:
    two = np.concatenate([REAL[:200], REAL[200:] + 50.0])
    found = compare_manifolds(RANDOM.normal(size=(400, 3)), two)
    assert found.precision > 0.8
    assert found.recall < 0.5
    assert found.coverage <= 0.5


def test_the_figures_are_those_of_plain_search() -> None:
    sample, real = RANDOM.normal(size=(30, 2)), RANDOM.normal(size=(40, 2)) + 0.5

    def radii(rows: np.ndarray, k: int) -> np.ndarray:
        return np.sort(np.linalg.norm(rows[:, None] - rows[None], axis=-1), axis=1)[:, k]

    distance = np.linalg.norm(sample[:, None] - real[None], axis=-1)
    found = compare_manifolds(sample, real)
    assert found.precision == (distance <= radii(real, 3)).any(axis=1).mean()
    assert found.recall == (distance <= radii(sample, 3)[:, None]).any(axis=0).mean()
    assert found.density == pytest.approx((distance <= radii(real, 5)).sum() / (5 * len(sample)))
    assert found.coverage == (distance <= radii(real, 5)).any(axis=0).mean()


def test_nearness_by_hand() -> None:
    unseen = np.arange(1.0, 102.0)  # its 1 % quantile is 2
    found = compare_nearness(np.array([0.5, 1.5, 2.0, 51.0, 300.0]), unseen)
    assert (found.near.successes, found.near.trials) == (2, 5)
    assert found.nearest_ratio == 0.5
    assert found.median_ratio == pytest.approx(2.0 / 51.0)


def test_a_test_image_that_is_a_training_image_leaves_the_ratio_finite() -> None:
    found = compare_nearness(np.array([1.0]), np.array([0.0, 1.0]))
    assert np.isfinite(found.nearest_ratio)
