"""Reports on a classifier: planted faults are found and told."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from training.card import Section
from training.classifier import Answers
from training.data.sets import ImageSet
from training.kinds.base import Evaluation
from training.reports.accuracy import report_accuracy
from training.reports.calibration import report_calibration
from training.reports.fairness import report_fairness
from training.reports.mistakes import report_mistakes
from training.reports.robustness import balanced

RNG = np.random.default_rng(0)
CLASSES = ("ant", "bee")
LABEL = np.arange(400) % 2


def pictures() -> np.ndarray:
    level = RNG.permutation(np.linspace(20, 230, len(LABEL)))
    images = level[:, None, None, None] + RNG.normal(0, 10, (len(LABEL), 16, 16, 3))
    return images.clip(0, 255).astype(np.uint8)


TEST = ImageSet(pictures(), LABEL)


def section(found: Evaluation) -> Section:
    (only,) = found.sections
    return only


def test_a_classifier_that_fails_in_the_dark_is_found_out(tmp_path: Path) -> None:
    dark = TEST.images.mean(axis=(1, 2, 3)) < np.quantile(TEST.images.mean(axis=(1, 2, 3)), 0.25)
    predicted = np.where(dark & (RNG.random(len(LABEL)) < 0.5), 1 - LABEL, LABEL)
    found = report_fairness(TEST, predicted, CLASSES, tmp_path)
    assert found.metrics["group_accuracy.brightness_1"] < 0.65
    assert found.metrics["group_accuracy.brightness_4"] == 1.0
    assert found.metrics["accuracy_gap.brightness"] > 0.35
    assert found.metrics["accuracy_gap.class"] < 0.15
    text = section(found).text
    told = text.partition("By brightness, ")[2].partition("By contrast")[0]
    assert told.startswith("darkest fares worst")
    assert "points below" in told
    assert "do not overlap" in told
    assert "| brightness | darkest | " in text
    assert (tmp_path / "groups.png").stat().st_size > 0


def test_equal_groups_are_not_called_unequal(tmp_path: Path) -> None:
    wrong = RNG.permutation(len(LABEL)) < 40
    found = report_fairness(TEST, np.where(wrong, 1 - LABEL, LABEL), CLASSES, tmp_path)
    assert section(found).text.count("their intervals overlap") >= 4


@pytest.mark.parametrize("sureness", [1.0, 3.0])
def test_calibration_before_and_after_the_temperature(sureness: float, tmp_path: Path) -> None:
    """The served probabilities are calibrated; without their temperature they were too sure."""
    sure = RNG.uniform(0.5, 1.0, 20_000)
    label = (RNG.random(20_000) > sure).astype(np.int64)
    served = np.stack([sure, 1 - sure], axis=1)
    found = report_calibration(served, label, sureness, 1000, tmp_path).metrics
    assert found["test_ece"] < 0.015
    assert found["temperature"] == sureness
    if sureness == 1.0:
        assert found["untempered_ece"] == pytest.approx(found["test_ece"])
    else:
        assert found["untempered_ece"] > 0.1
        assert found["untempered_loss_nats"] > found["test_loss_nats"]


def test_calibration_says_what_the_temperature_was_fitted_on(tmp_path: Path) -> None:
    served = np.full((10, 2), 0.5)
    label = np.zeros(10, np.int64)
    with_one = section(report_calibration(served, label, 1.5, 1000, tmp_path)).text
    without = section(report_calibration(served, label, 1.0, 0, tmp_path)).text
    assert "1,000 training images that were held out" in with_one
    assert "No temperature was fitted" in without


def test_accuracy_of_each_class_and_of_all(tmp_path: Path) -> None:
    predicted = LABEL.copy()
    predicted[:40:2] = 1  # twenty ants taken for bees
    found = report_accuracy(predicted, LABEL, CLASSES, tmp_path)
    assert found.metrics["test_accuracy"] == 0.95
    assert found.metrics["test_accuracy.ant"] == 0.9
    assert found.metrics["worst_class_accuracy"] == 0.9
    assert found.metrics["test_accuracy_low"] < 0.95 < found.metrics["test_accuracy_high"]
    for figure in found.figures:
        assert (tmp_path / figure.file).stat().st_size > 0


def answers(predicted: np.ndarray, sure: np.ndarray) -> Answers:
    probability = np.empty((len(predicted), 2), np.float32)
    probability[np.arange(len(predicted)), predicted] = sure
    probability[np.arange(len(predicted)), 1 - predicted] = 1 - sure
    return Answers(probability, np.zeros((len(predicted), 2, 2), np.float32))


def test_confident_errors_are_counted_and_shown_at_home_alone(tmp_path: Path) -> None:
    predicted, sure = LABEL.copy(), np.full(len(LABEL), 0.6)
    sure[:100] = 0.95
    predicted[:10] = 1 - predicted[:10]
    found = report_mistakes(TEST, answers(predicted, sure), CLASSES, tmp_path)
    assert found.metrics["sure"] == 0.25
    assert found.metrics["sure_accuracy"] == 0.9
    assert section(found).figures == ()
    assert [figure.file for figure in found.private] == ["mistakes.png"]
    assert "| ant | bee | 5 |" in section(found).text


def test_who_errs_nowhere_shows_no_errors(tmp_path: Path) -> None:
    found = report_mistakes(TEST, answers(LABEL, np.full(len(LABEL), 0.7)), CLASSES, tmp_path)
    assert found.private == ()
    assert found.metrics == {"sure": 0.0}
    assert not list(tmp_path.iterdir())


def test_attacked_images_are_of_every_class_alike() -> None:
    label = np.repeat(np.arange(4), (50, 20, 30, 10))
    chosen = balanced(label, 100, seed=1)
    assert np.bincount(label[chosen]).tolist() == [10, 10, 10, 10]
    assert len(set(chosen.tolist())) == 40
    np.testing.assert_array_equal(chosen, balanced(label, 100, seed=1))
    assert np.bincount(label[balanced(label, 8, seed=1)]).tolist() == [2, 2, 2, 2]


def test_what_parts_found_is_joined_in_order() -> None:
    parts = [Evaluation({name: at}, sections=(Section(name, ""),)) for at, name in enumerate("abc")]
    whole = Evaluation.join(itertools.chain(parts))
    assert whole.metrics == {"a": 0, "b": 1, "c": 2}
    assert [one.title for one in whole.sections] == ["a", "b", "c"]
