"""The deletion test tells a map that points at what matters from one that does not."""

from __future__ import annotations

import numpy as np

from training.measures.deletion import cover, deletion_test, hottest, move

ROWS, SIDE, CELLS = 400, 28, 7


def scene() -> tuple[np.ndarray, np.ndarray]:
    """Grey noise with one bright 2x2 patch of cells; where it is, [N, 7, 7]."""
    rng = np.random.default_rng(0)
    images = rng.integers(90, 110, (ROWS, SIDE, SIDE, 3)).astype(np.uint8)
    where = np.zeros((ROWS, CELLS, CELLS))
    for image, place in zip(images, where, strict=True):
        row, column = rng.integers(0, CELLS - 1, 2)
        place[row : row + 2, column : column + 2] = 1.0
        image[row * 4 : row * 4 + 8, column * 4 : column * 4 + 8] = 250
    return images, where


def brightness_seeker(image_NHWC: np.ndarray) -> np.ndarray:
    """As sure of class 0 as the brightest area is bright."""
    bright = (image_NHWC[..., 0] > 200).sum(axis=(1, 2)) / 64
    sure = 0.1 + 0.8 * np.clip(bright, 0, 1)
    return np.stack([sure, (1 - sure) * 0.1], axis=1)


IMAGES, WHERE = scene()


def run(heat: np.ndarray):
    before = brightness_seeker(IMAGES)
    return deletion_test(brightness_seeker, IMAGES, before, heat, np.random.default_rng(1))


def test_a_true_map_has_an_advantage_over_both_controls() -> None:
    found = run(WHERE)
    assert found.hot.value > 0.75
    assert found.advantage.low > 0.4
    assert found.advantage_over_borrowed.low > 0.4
    assert abs(found.area - 0.15) < 0.02


def test_a_random_map_has_none() -> None:
    found = run(np.random.default_rng(2).random(WHERE.shape))
    assert found.advantage.low < 0 < found.advantage.high
    assert found.advantage_over_borrowed.low < 0 < found.advantage_over_borrowed.high


def test_a_map_that_always_points_at_the_same_place_gains_nothing_over_borrowed_ones() -> None:
    fixed = np.zeros_like(WHERE)
    fixed[:, 2:5, 2:5] = 1.0
    found = run(fixed)
    assert found.advantage_over_borrowed.value == 0


def test_the_hottest_cells_are_found_and_covered() -> None:
    heat = np.zeros((1, 2, 2))
    heat[0, 1, 0] = 1.0
    mask = hottest(heat, area=0.25)
    assert mask.tolist() == [[[False, False], [True, False]]]
    image = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(1, 4, 4, 3)
    covered = cover(image, mask)
    mean = np.rint(image.mean(axis=(1, 2)))[0]
    assert (covered[0, 2:, :2] == mean).all()
    np.testing.assert_array_equal(covered[0, :2], image[0, :2])
    np.testing.assert_array_equal(covered[0, 2:, 2:], image[0, 2:, 2:])


def test_a_moved_mask_keeps_its_size_and_never_its_place() -> None:
    mask = hottest(WHERE)
    moved = move(mask, np.random.default_rng(3))
    np.testing.assert_array_equal(moved.sum(axis=(1, 2)), mask.sum(axis=(1, 2)))
    single = hottest(WHERE, area=0.0)  # one cell
    elsewhere = move(single, np.random.default_rng(4))
    assert not (single & elsewhere).any()
