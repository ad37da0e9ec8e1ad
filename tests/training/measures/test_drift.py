"""Statistics of drift: known values, and verdicts that need both size and evidence."""

from __future__ import annotations

import math

import numpy as np
import pytest

from training.measures.drift import (
    Limits,
    Profile,
    compare,
    psi,
    psi_of_values,
    share_differs,
)


def test_psi_is_the_sum_over_bins() -> None:
    # Large counts, so that the half count added to each does not show.
    expected, observed = np.array([600_000, 400_000]), np.array([300_000, 700_000])
    by_hand = (0.3 - 0.6) * math.log(0.3 / 0.6) + (0.7 - 0.4) * math.log(0.7 / 0.4)
    assert psi(expected, observed) == pytest.approx(by_hand, rel=1e-4)
    assert psi(expected, observed) == pytest.approx(psi(observed, expected))
    assert psi(expected, 2 * expected) == pytest.approx(0, abs=1e-6)


def test_an_empty_bin_is_no_infinity() -> None:
    assert math.isfinite(psi(np.array([10, 0]), np.array([0, 10])))


def test_values_are_binned_by_tenths_of_the_reference() -> None:
    expected = np.arange(10_000.0)
    assert psi_of_values(expected, expected + 0.25) == pytest.approx(0, abs=1e-3)
    assert psi_of_values(expected, expected + 5000) > 1
    assert psi_of_values(np.ones(50), np.ones(50)) == pytest.approx(0)


def values(sample: object) -> Profile:
    return Profile(values={"brightness": np.asarray(sample)})


def test_a_shift_is_drift_and_a_new_draw_is_not() -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(0, 1, 5000)
    (same,) = compare(values(reference), values(rng.normal(0, 1, 800)), Limits())
    assert same.verdict == "fine"
    (shifted,) = compare(values(reference), values(rng.normal(1, 1, 800)), Limits())
    assert shifted.verdict == "drift"
    assert shifted.psi > 0.25
    assert shifted.p_value < 1e-6
    assert shifted.reference == pytest.approx(reference.mean())
    (a_little,) = compare(values(reference), values(rng.normal(0.4, 1, 3000)), Limits())
    assert a_little.verdict == "note"


def test_a_handful_is_no_evidence() -> None:
    rng = np.random.default_rng(1)
    (few,) = compare(values(rng.normal(0, 1, 5000)), values(rng.normal(0.2, 1, 12)), Limits())
    assert few.psi > 0.25  # the index alone would complain
    assert few.verdict == "fine"


def test_tests_share_their_significance() -> None:
    rng = np.random.default_rng(2)
    samples = {f"f{number}": rng.normal(0, 1, 500) for number in range(200)}
    again = {name: rng.normal(0, 1, 100) for name in samples}
    limits = Limits(psi_note=0.0, psi_refuse=0.0, significance=0.05)
    found = compare(Profile(values=samples), Profile(values=again), limits)
    assert sum(one.p_value < 0.05 for one in found) > 0
    assert not any(one.verdict == "drift" for one in found)


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        ({"cat": 52, "dog": 48}, "fine"),
        ({"cat": 100, "dog": 0}, "drift"),
        ({"cat": 45, "dog": 45, "cow": 40}, "drift"),
    ],
)
def test_counts(now: dict[str, int], verdict: str) -> None:
    reference = Profile(counts={"class": {"cat": 500, "dog": 500}})
    (found,) = compare(reference, Profile(counts={"class": now}), Limits())
    assert found.verdict == verdict
    assert found.reference is None


def test_what_one_side_lacks_is_not_compared() -> None:
    assert compare(Profile(), values([1.0]), Limits()) == ()
    assert compare(values([]), values([1.0]), Limits()) == ()
    assert (
        compare(Profile(counts={"class": {}}), Profile(counts={"class": {"a": 1}}), Limits()) == ()
    )


def test_a_share_is_told_from_chance() -> None:
    assert not share_differs(3, 50, 0.1, 0.001)
    assert share_differs(0, 500, 0.1, 0.001)
