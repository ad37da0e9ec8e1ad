"""Each corruption does what its name says, more at each strength."""

from __future__ import annotations

import numpy as np
import pytest

from training.measures.corruption import CORRUPTIONS, ROWS, corrupt

IMAGES = (np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3)).repeat(4, 1).repeat(4, 2)).astype(
    np.uint8
)


def changed(name: str, strength: int) -> np.ndarray:
    return corrupt(name, IMAGES, strength, np.random.default_rng(1))


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_it_changes_more_at_each_strength_and_keeps_shape_and_dtype(name: str) -> None:
    far = []
    for strength in (1, 2, 3):
        found = changed(name, strength)
        assert found.shape == IMAGES.shape
        assert found.dtype == np.uint8
        far.append(np.abs(found.astype(float) - IMAGES).mean())
    assert 0 < far[0] < far[1] < far[2]


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_the_same_seed_gives_the_same_images(name: str) -> None:
    np.testing.assert_array_equal(changed(name, 2), changed(name, 2))


def test_noise_has_the_deviation_of_its_strength() -> None:
    grey = np.full((50, 32, 32, 3), 128, np.uint8)
    found = corrupt("noise", grey, 2, np.random.default_rng(0))
    assert found.std() / 255 == pytest.approx(0.08, rel=0.02)


def test_blur_spreads_a_point_and_keeps_its_light() -> None:
    point = np.zeros((1, 15, 15, 3), np.uint8)
    point[0, 7, 7] = 255
    found = corrupt("blur", point, 3, np.random.default_rng(0))[0, :, :, 0].astype(float)
    np.testing.assert_array_equal(found, found.T)
    assert found[7, 7] == pytest.approx(255 / (2 * np.pi), rel=0.02)
    assert found.sum() == pytest.approx(255, rel=0.05)


def test_brightness_keeps_the_hue_and_lifts_black_to_grey() -> None:
    pixels = np.array([[[[0, 0, 0], [100, 50, 0], [255, 0, 0]]]], np.uint8)
    black, brown, red = corrupt("brightness", pixels, 3, np.random.default_rng(0))[0, 0]
    lift = round(0.3 * 255)
    assert black.tolist() == [lift, lift, lift]
    assert brown.tolist() == pytest.approx([100 + lift, (100 + lift) / 2, 0], abs=1)
    assert red.tolist() == [255, 0, 0]


def test_contrast_shrinks_towards_the_mean_of_the_channel() -> None:
    found = changed("contrast", 2).astype(float)
    assert found.std(axis=(1, 2)) == pytest.approx(0.4 * IMAGES.std(axis=(1, 2)), abs=0.5)
    assert found.mean(axis=(1, 2)) == pytest.approx(IMAGES.mean(axis=(1, 2)), abs=0.5)


def test_rows_beyond_a_chunk_are_corrupted_too() -> None:
    many = np.full((ROWS + 3, 4, 4, 3), 50, np.uint8)
    assert (corrupt("brightness", many, 3, np.random.default_rng(0)) > 100).all()
