"""A generator that copies, repeats itself or draws the wrong thing is told from one that draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.training.galleries import CLASSES, draw, make_data, make_gallery
from training.errors import DataError
from training.gallery import Gallery, appoint, ask
from training.kinds.base import Evaluation
from training.painter import Painter
from training.reports.agreement import report_agreement
from training.reports.copying import report_copying
from training.reports.likeness import report_likeness
from training.reports.variety import report_variety

DATA = make_data()
ASKED = ask(DATA, 60)


def honest(seed: int = 5) -> Gallery:
    """What a perfect generator would draw."""
    return make_gallery(draw(np.random.default_rng(seed), ASKED), ASKED, DATA)


def drawn_pages(evaluation: Evaluation, folder: Path) -> None:
    public = [f for section in evaluation.sections for f in section.figures]
    for figure in (*evaluation.figures, *public, *evaluation.private):
        with Image.open(folder / figure.file) as image:
            assert np.asarray(image.convert("L")).std() > 5, f"{figure.file} is blank"


def copies(mirrored: bool) -> NDArray[np.uint8]:
    """Training images of the classes asked for, grey levels off by one."""
    order = np.argsort(DATA.train.labels, kind="stable")
    images = DATA.train.images[order] + np.uint8(1)
    return np.ascontiguousarray(images[:, :, ::-1]) if mirrored else images


def test_a_generator_that_draws_copies_no_more_than_chance(tmp_path: Path) -> None:
    evaluation = report_copying(honest(), tmp_path)
    metrics = evaluation.metrics
    assert metrics["pixel_near_share"] < 0.06
    assert metrics["feature_near_share"] < 0.06
    assert metrics["pixel_nearest_ratio"] > 0.8
    assert metrics["pixel_distance_ratio"] == pytest.approx(1.0, abs=0.05)
    assert metrics["feature_distance_ratio"] == pytest.approx(1.0, abs=0.1)
    drawn_pages(evaluation, tmp_path)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_generator_that_copies_is_caught(mirrored: bool, tmp_path: Path) -> None:
    images = copies(mirrored)
    metrics = report_copying(make_gallery(images, ASKED, DATA), tmp_path).metrics
    assert metrics["pixel_near_share"] == 1.0
    assert metrics["pixel_nearest_ratio"] < 0.1
    assert metrics["pixel_distance_ratio"] < 0.1
    if not mirrored:
        assert metrics["feature_near_share"] == 1.0


def test_one_copy_among_many_samples_is_the_first_suspect(tmp_path: Path) -> None:
    gallery = honest()
    gallery.images[100] = DATA.train.images[31]
    gallery = make_gallery(gallery.images, ASKED, DATA)
    metrics = report_copying(gallery, tmp_path).metrics
    assert metrics["pixel_nearest_ratio"] == metrics["feature_nearest_ratio"] == 0.0
    with Image.open(tmp_path / "neighbours-pixel-suspect.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    left = pixels.shape[1] - 6 * 67  # six cells of 64 with their gaps
    sample, nearest = pixels[3:67, left : left + 64], pixels[3:67, left + 67 : left + 131]
    np.testing.assert_array_equal(sample, nearest)


def test_training_images_stay_out_of_the_card(tmp_path: Path) -> None:
    evaluation = report_copying(honest(), tmp_path)
    public = {f.file for section in evaluation.sections for f in section.figures}
    assert public == {"nearness.png"}
    assert {figure.file for figure in evaluation.private} == {
        f"neighbours-{space}-{which}.png"
        for space in ("pixel", "feature")
        for which in ("first", "suspect")
    }


def test_agreement_is_by_class_and_by_the_judges_own_order(tmp_path: Path) -> None:
    wrong = ASKED.copy()
    wrong[:30] = 1  # half of the ants come out as bees
    images = draw(np.random.default_rng(5), wrong)
    evaluation = report_agreement(make_gallery(images, ASKED, DATA), tmp_path)
    metrics = evaluation.metrics
    by_class = [metrics[f"class_agreement.{name}"] for name in CLASSES]
    assert by_class[0] == metrics["worst_class_agreement"] == pytest.approx(0.5, abs=0.1)
    assert min(by_class[1:]) > 0.9
    assert metrics["class_agreement"] == pytest.approx(np.mean(by_class))
    assert (
        metrics["class_agreement_low"]
        < metrics["class_agreement"]
        < metrics["class_agreement_high"]
    )
    assert metrics["judge_accuracy"] > 0.9
    assert "ant worst" in evaluation.sections[0].text
    drawn_pages(evaluation, tmp_path)


def test_like_samples_lie_near_the_floor_and_unlike_ones_do_not() -> None:
    like = report_likeness(honest(), 0).metrics
    grey = make_gallery(honest().images // 2, ASKED, DATA)
    unlike = report_likeness(grey, 0).metrics
    assert like["frechet_classifier_features"] < 2 * like["frechet_classifier_features_floor"]
    assert unlike["frechet_classifier_features"] > 10 * unlike["frechet_classifier_features_floor"]
    assert like["frechet_classifier_features_train"] < 2 * like["frechet_classifier_features_floor"]
    assert min(like["sample_precision"], like["sample_recall"], like["sample_coverage"]) > 0.5
    assert unlike["sample_coverage"] < 0.1


class Still(Painter):
    """Draws the same picture of a class whatever the noise."""

    def __init__(self) -> None:
        self.noise_width = 4

    def paint(self, noise_NZ: NDArray[np.float32], label_N: NDArray[np.int64]) -> NDArray[np.uint8]:
        return draw(np.random.default_rng(1), np.arange(len(CLASSES)))[label_N]


def test_a_generator_that_repeats_itself_has_no_variety(tmp_path: Path) -> None:
    still = Still()
    gallery = make_gallery(still.sample(ASKED, 0), ASKED, DATA)
    repeated = report_variety(gallery, still, 0, tmp_path)
    assert repeated.metrics["diversity_ratio"] == pytest.approx(0.0, abs=1e-6)
    drawn_pages(repeated, tmp_path)
    varied = report_variety(honest(), still, 0, tmp_path).metrics
    assert varied["diversity_ratio"] == pytest.approx(1.0, abs=0.1)
    assert varied["worst_diversity_ratio"] > 0.8
    mixed = honest().images
    mixed[:60] = mixed[0]  # one class collapsed
    partly = report_variety(make_gallery(mixed, ASKED, DATA), still, 0, tmp_path).metrics
    assert partly["worst_diversity_ratio"] == partly["diversity_ratio.ant"] < 1e-6
    assert partly["diversity_ratio"] == pytest.approx(2 / 3, abs=0.1)


def test_without_a_judge_the_complaint_says_how_to_get_one() -> None:
    with pytest.raises(DataError, match="train one first"):
        appoint(None)
