"""Accuracy, calibration and agreement against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.measures.agreement import agreement
from training.measures.calibration import (
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
)
from training.measures.classification import accuracy, confusion_matrix, per_class_accuracy
from training.measures.proportion import Proportion

LABEL = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 2, 2])


def test_accuracy_and_its_interval() -> None:
    share = accuracy(PREDICTED, LABEL)
    assert (share.successes, share.trials) == (4, 6)
    assert share.value == pytest.approx(2 / 3)
    # Wilson, 4 of 6, 95 %: Brown, Cai and DasGupta's formula gives 0.3000 to 0.9032.
    assert share.low == pytest.approx(0.30000, abs=5e-5)
    assert share.high == pytest.approx(0.90323, abs=5e-5)


@given(trials=st.integers(1, 10_000), data=st.data())
def test_the_interval_holds_the_share_and_stays_within_0_and_1(
    trials: int, data: st.DataObject
) -> None:
    share = Proportion(successes=data.draw(st.integers(0, trials)), trials=trials)
    assert 0 <= share.low <= share.value + 1e-12
    assert share.value - 1e-12 <= share.high <= 1
    assert share.low < share.high


def test_no_trials_have_no_share() -> None:
    none = Proportion(successes=0, trials=0)
    assert math.isnan(none.value)
    assert math.isnan(none.low)
    assert math.isnan(none.high)


def test_confusion_counts_labels_by_row() -> None:
    assert confusion_matrix(PREDICTED, LABEL, classes=4).tolist() == [
        [2, 1, 0, 0],
        [0, 1, 1, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 0],
    ]


def test_per_class_accuracy_is_nan_for_a_class_without_rows() -> None:
    share = per_class_accuracy(PREDICTED, LABEL, classes=4)
    assert share[:3].tolist() == pytest.approx([2 / 3, 1 / 2, 1])
    assert math.isnan(share[3])


def test_calibration_by_hand() -> None:
    probability = np.array([[0.9, 0.1], [0.9, 0.1], [0.35, 0.65], [0.4, 0.6]], np.float32)
    label = np.array([0, 1, 1, 1])
    # Bins of width 1/15: 0.9 falls into the 14th (one of two right), 0.65 and 0.6 (which is the
    # upper edge 9/15) into the 10th and the 9th (both right).
    bins = reliability(probability, label)
    assert bins.count[13] == 2
    assert bins.accuracy[13] == 0.5
    assert bins.confidence[13] == pytest.approx(0.9)
    assert bins.count.sum() == 4
    assert math.isnan(bins.accuracy[0])
    expected = (2 * 0.4 + 0.35 + 0.4) / 4
    assert expected_calibration_error(probability, label) == pytest.approx(expected, abs=1e-6)
    nats = -(np.log(0.9) + np.log(0.1) + np.log(0.65) + np.log(0.6)) / 4
    assert negative_log_likelihood(probability, label) == pytest.approx(nats, abs=1e-6)
    brier = (2 * 0.01 + 2 * 0.81 + 2 * 0.35**2 + 2 * 0.4**2) / 4
    assert brier_score(probability, label) == pytest.approx(brier, abs=1e-6)


def test_a_calibrated_forecaster_has_a_small_error_and_a_boaster_a_large_one() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(0.5, 1.0, 40_000)
    label = (random.uniform(size=40_000) > confidence).astype(np.int64)
    honest = np.stack([confidence, 1 - confidence], axis=1)
    boast = np.tile([0.999, 0.001], (40_000, 1))
    assert expected_calibration_error(honest, label) < 0.01
    assert expected_calibration_error(boast, label) == pytest.approx(0.249, abs=0.01)


def test_certainty_is_counted_and_never_infinite() -> None:
    probability = np.array([[1.0, 0.0]], np.float32)
    assert reliability(probability, np.array([0])).count[-1] == 1
    assert 80 < negative_log_likelihood(probability, np.array([1])) < 100


def test_agreement_is_by_the_class_asked_for() -> None:
    found = agreement(judged_N=PREDICTED, asked_N=LABEL, classes=3)
    assert found.overall == Proportion(successes=4, trials=6)
    assert found.per_class.tolist() == pytest.approx([2 / 3, 1 / 2, 1])
    assert found.confusion[0].tolist() == [2, 1, 0]
