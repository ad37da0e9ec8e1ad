"""Distances between sets of features, nearest neighbours and diversity."""

from __future__ import annotations

import numpy as np
import pytest

from training.measures.diversity import diversity_by_class, mean_pairwise_distance
from training.measures.frechet import (
    Gaussian,
    fit_gaussian,
    frechet_distance,
    frechet_floor,
    gaussian_distance,
)
from training.measures.neighbours import nearest


def test_gaussians_with_diagonal_covariances_by_hand() -> None:
    a = Gaussian(mean=np.array([0.0, 1.0]), covariance=np.diag([1.0, 4.0]))
    b = Gaussian(mean=np.array([3.0, 1.0]), covariance=np.diag([9.0, 1.0]))
    # |(3, 0)|^2 + (1 - 3)^2 + (2 - 1)^2
    assert gaussian_distance(a, b) == pytest.approx(14.0)
    assert gaussian_distance(b, a) == pytest.approx(14.0)


def test_covariances_that_do_not_commute() -> None:
    # In one plane turned by 45 degrees: tr (A B)^(1/2) is the sum of the roots of A B's
    # eigenvalues, which for 2 x 2 is sqrt(tr(AB) + 2 sqrt(det(AB))).
    a = np.array([[2.0, 0.0], [0.0, 1.0]])
    b = np.array([[1.5, 0.5], [0.5, 1.5]])
    product = a @ b
    cross = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    zero = np.zeros(2)
    found = gaussian_distance(Gaussian(zero, a), Gaussian(zero, b))
    assert found == pytest.approx(float(np.trace(a) + np.trace(b) - 2 * cross))


def test_a_set_is_at_no_distance_from_itself_even_if_singular() -> None:
    random = np.random.default_rng(0)
    flat = random.normal(size=(50, 3)).astype(np.float32) @ random.normal(size=(3, 40))
    assert frechet_distance(flat, flat) == pytest.approx(0.0, abs=1e-4)
    assert frechet_distance(flat, flat + 2.0) == pytest.approx(4.0 * 40, rel=1e-6)


def test_the_floor_falls_with_more_rows_and_lies_below_a_shifted_set() -> None:
    random = np.random.default_rng(0)
    few, many = random.normal(size=(200, 16)), random.normal(size=(20_000, 16))
    assert 0 < frechet_floor(many) < frechet_floor(few)
    assert frechet_floor(many) < frechet_distance(many[:10_000], many[10_000:] + 0.2)
    assert frechet_floor(few) == frechet_floor(few)


def test_one_feature_is_enough() -> None:
    fitted = fit_gaussian(np.array([[1.0], [3.0]]))
    assert fitted.covariance.tolist() == [[2.0]]


@pytest.mark.parametrize("rows", [1, 255, 256, 600])
def test_neighbours_are_those_of_plain_search(rows: int) -> None:
    random = np.random.default_rng(rows)
    query, reference = random.normal(size=(rows, 12)), random.normal(size=(500, 12))
    found = nearest(query, reference, k=3)
    distance = np.linalg.norm(query[:, None] - reference[None], axis=-1)
    np.testing.assert_array_equal(found.index, np.argsort(distance, axis=1)[:, :3])
    np.testing.assert_allclose(found.distance, np.sort(distance, axis=1)[:, :3])


def test_a_copied_image_is_found_at_distance_0_among_near_copies() -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (32, 32, 3), np.uint8)
    reference = np.repeat(image[None], 100, axis=0)
    for row in range(100):
        if row != 57:
            reference[row, row % 32, row % 31, 0] ^= 1  # one grey level in one pixel
    found = nearest(image[None], reference, k=2)
    assert found.index[0, 0] == 57
    assert found.distance[0].tolist() == [0.0, 1.0]


def test_more_neighbours_than_spares_and_no_more_than_there_are() -> None:
    reference = np.arange(5.0)[:, None]
    found = nearest(np.array([[1.2]]), reference, k=5)
    assert found.index.tolist() == [[1, 2, 0, 3, 4]]


def test_diversity() -> None:
    corners = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]])
    assert mean_pairwise_distance(corners) == pytest.approx((3 + 4 + 5) / 3)
    assert mean_pairwise_distance(np.ones((10, 4))) == 0.0
    assert np.isnan(mean_pairwise_distance(corners[:1]))
    by_class = diversity_by_class(
        np.concatenate([corners, np.ones((2, 2))]), np.array([2, 2, 2, 0, 0]), classes=3
    )
    assert by_class[0] == 0.0
    assert np.isnan(by_class[1])
    assert by_class[2] == pytest.approx(4.0)
