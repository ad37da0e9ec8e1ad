"""Random numbers are those of (seed, row), whatever else is drawn."""

from __future__ import annotations

import numpy as np

from service.noise import MAX_SEED, Uniforms, arc, normal


def test_rows_depend_on_seed_and_row_alone() -> None:
    together = normal(7, 0, 50, 13)
    for row in (0, 1, 17, 49):
        np.testing.assert_array_equal(normal(7, row, 1, 13)[0], together[row])


def test_rows_and_seeds_differ() -> None:
    drawn = np.concatenate([normal(seed, 0, 20, 4) for seed in (0, 1, MAX_SEED)])
    assert len(np.unique(drawn, axis=0)) == 60


def test_a_narrower_row_is_a_prefix() -> None:
    np.testing.assert_array_equal(normal(3, 0, 1, 64)[0, :10], normal(3, 0, 1, 10)[0])


def test_normals_are_standard_and_float32() -> None:
    drawn = normal(1, 0, 1000, 100)
    assert drawn.dtype == np.float32
    assert abs(float(drawn.mean())) < 0.02
    assert abs(float(drawn.std()) - 1) < 0.02


def test_first_normals_are_pinned() -> None:
    """A change here changes every picture that anybody has a seed for."""
    expected = [0.2148485, -0.49902132, -1.0432415, 0.14415407]
    np.testing.assert_array_equal(normal(42, 3, 1, 4)[0], np.array(expected, dtype=np.float32))


def test_first_uniforms_are_pinned() -> None:
    """A change here changes every text that anybody has a seed for."""
    uniforms = Uniforms(42, 3)
    assert uniforms.take(4).tolist() == [
        0.7122142960324449,
        0.07050661802753055,
        0.3939777489962194,
        0.1263812763223061,
    ]


def test_uniforms_are_one_endless_sequence() -> None:
    uniforms = Uniforms(5, 0)
    drawn = [float(one) for _ in range(500) for one in uniforms.take(2)]
    assert len(set(drawn)) == 1000
    assert all(0 <= value < 1 for value in drawn)
    assert abs(float(np.mean(drawn)) - 0.5) < 0.03
    again = Uniforms(5, 0)
    assert again.take(1000).tolist() == drawn
    assert Uniforms(5, 1).take(1)[0] != drawn[0]
    assert Uniforms(6, 0).take(1)[0] != drawn[0]


def test_uniforms_do_not_share_state() -> None:
    alone = [Uniforms(1, 0).take(1)[0], Uniforms(2, 0).take(1)[0]]
    first, second = Uniforms(1, 0), Uniforms(2, 0)
    assert [first.take(1)[0], second.take(1)[0]] == alone


def test_an_arc_leads_from_one_noise_to_the_other_at_even_steps() -> None:
    start, end = (one / np.linalg.norm(one) for one in normal(1, 0, 2, 64))
    points = arc(start, end, 9)
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points[0], start)
    np.testing.assert_array_equal(points[-1], end)
    # A straight line's middle would have a length of 0.71 or so.
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, rtol=1e-5)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-3)


def test_an_arc_of_equal_ends_stays_there() -> None:
    start = normal(1, 0, 1, 8)[0]
    np.testing.assert_allclose(arc(start, start, 5), np.tile(start, (5, 1)), rtol=1e-6)
    zero = np.zeros(8, dtype=np.float32)
    np.testing.assert_array_equal(arc(zero, zero, 3), np.zeros((3, 8), dtype=np.float32))
