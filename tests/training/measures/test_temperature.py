"""A temperature mends what is miscalibrated, and leaves alone what is not."""

from __future__ import annotations

import numpy as np
import pytest

from training.measures.calibration import expected_calibration_error, negative_log_likelihood
from training.measures.temperature import BOUNDS, fit_temperature, temper

RNG = np.random.default_rng(0)
TRUE_LOGITS = RNG.normal(0.0, 2.0, (20_000, 5))


def softmax(logits: np.ndarray) -> np.ndarray:
    weight = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weight / weight.sum(axis=1, keepdims=True)


LABEL = np.array([RNG.choice(5, p=row) for row in softmax(TRUE_LOGITS)])


@pytest.mark.parametrize("sureness", [0.25, 1.0, 3.0])
def test_the_temperature_is_what_the_logits_were_multiplied_by(sureness: float) -> None:
    found = fit_temperature(TRUE_LOGITS * sureness, LABEL)
    assert found == pytest.approx(sureness, rel=0.03)


@pytest.mark.parametrize("sureness", [0.25, 3.0])
def test_it_lowers_the_calibration_error_and_changes_no_prediction(sureness: float) -> None:
    logits = TRUE_LOGITS * sureness
    before = softmax(logits)
    after = temper(before, fit_temperature(logits[:5000], LABEL[:5000]))
    assert expected_calibration_error(before[5000:], LABEL[5000:]) > 0.05
    assert expected_calibration_error(after[5000:], LABEL[5000:]) < 0.02
    np.testing.assert_array_equal(before.argmax(axis=1), after.argmax(axis=1))


def test_no_temperature_nearby_is_more_likely() -> None:
    found = fit_temperature(TRUE_LOGITS * 2, LABEL)
    best = negative_log_likelihood(softmax(TRUE_LOGITS * 2 / found), LABEL)
    for other in (0.98, 1.02):
        assert negative_log_likelihood(softmax(TRUE_LOGITS * 2 / (found * other)), LABEL) > best


def test_who_is_always_right_gets_the_bound() -> None:
    assert fit_temperature(np.eye(3), np.arange(3)) == pytest.approx(BOUNDS[0])


def test_tempering_undoes_itself() -> None:
    probability = softmax(TRUE_LOGITS[:100])
    np.testing.assert_allclose(temper(temper(probability, 2.5), 1 / 2.5), probability, atol=1e-12)
    sure = np.array([[1.0, 0.0]], np.float32)
    assert np.isfinite(temper(sure, 2.0)).all()
