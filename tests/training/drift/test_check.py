"""The check of new data: what fits passes, what does not is named with its figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from training.data.addition import NewImages, NewText
from training.data.sets import ImageData, ImageSet
from training.data.text import TextData
from training.drift.check import check_images, check_text
from training.measures.drift import Limits

CLASSES = ("cat", "cow", "dog")


def pictures(rng: np.random.Generator, count: int, *, light: float = 0.0) -> NDArray[np.uint8]:
    level = rng.uniform(60, 160, (count, 1, 1, 3)) + light
    return (level + rng.normal(0, 20, (count, 8, 8, 3))).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def data() -> ImageData:
    rng = np.random.default_rng(0)
    train = ImageSet(pictures(rng, 900), np.arange(900) % 3)
    test = ImageSet(pictures(rng, 90), np.arange(90) % 3)
    return ImageData("pets", "pets", "0" * 64, CLASSES, train, test)


def new_images(names: list[str], *, light: float = 0.0, outside: tuple[str, ...] = ()) -> NewImages:
    images = pictures(np.random.default_rng(1), len(names), light=light)
    sizes = np.full((len(names), 2), 8, np.int32)
    return NewImages("drop", "1" * 64, images, tuple(names), sizes, outside)


def test_more_of_the_same_is_fine(data: ImageData) -> None:
    check, expected, observed = check_images(new_images(list(CLASSES) * 60), data, Limits())
    assert check.verdict == "fine"
    assert check.problems == ()
    assert check.examples == 180
    assert {one.feature for one in check.drift} == {*expected.values, "class"}
    assert set(observed.values) == set(expected.values)


def test_darkened_images_are_refused_with_figures(data: ImageData) -> None:
    check, _, _ = check_images(new_images(list(CLASSES) * 60, light=-50), data, Limits())
    assert check.verdict == "refused"
    (brightness,) = (one for one in check.problems if one.startswith("brightness"))
    assert "PSI" in brightness
    assert "0.25 is too much, mean 0.2" in brightness
    assert "was 0.4" in brightness
    lenient = Limits(psi_refuse=100.0)
    check, _, _ = check_images(new_images(list(CLASSES) * 60, light=-50), data, lenient)
    assert check.verdict == "fine"
    assert any(note.startswith("brightness") for note in check.notes)


def test_unknown_classes_and_places_are_refused(data: ImageData) -> None:
    new = new_images([*CLASSES * 20, "unicorn", "unicorn"], outside=("lost.png",))
    check, _, _ = check_images(new, data, Limits())
    assert check.verdict == "refused"
    assert any("'unicorn' (2 images) is not known" in problem for problem in check.problems)
    assert any("'lost.png'" in problem for problem in check.problems)


def test_a_missing_class_is_refused_where_chance_is_ruled_out(data: ImageData) -> None:
    check, _, _ = check_images(new_images(["cat", "dog"] * 60), data, Limits())
    assert any("class 'cow' is missing; it is 33.3%" in problem for problem in check.problems)
    check, _, _ = check_images(new_images(["cat", "dog"] * 3), data, Limits())
    assert check.verdict == "fine"
    assert any("'cow' is missing" in note for note in check.notes)


def test_a_share_may_differ_by_a_ratio(data: ImageData) -> None:
    names = ["cat"] * 160 + ["dog"] * 160 + ["cow"] * 20
    check, _, _ = check_images(new_images(names), data, Limits(psi_refuse=9.0))
    assert any("'cow' is 5.9% of the new data and 33.3%" in problem for problem in check.problems)
    loose = Limits(psi_refuse=9.0, share_ratio=10.0)
    assert check_images(new_images(names), data, loose)[0].verdict == "fine"


def test_nothing_but_unknown_classes_is_a_refusal_and_no_crash(data: ImageData) -> None:
    check, _, _ = check_images(new_images(["unicorn"] * 5), data, Limits())
    assert check.verdict == "refused"


TEXT = "the cat sat on the mat and the dog sat on the log, said the cow.\n" * 40


@pytest.fixture(scope="module")
def text() -> TextData:
    return TextData("rhymes", "rhymes", "2" * 64, TEXT, TEXT[:200], "".join(sorted(set(TEXT))))


def test_text_of_the_same_kind_is_fine(text: TextData) -> None:
    check, _, _ = check_text(NewText("drop", "3" * 64, TEXT[7:900]), text, Limits())
    assert check.verdict == "fine"
    assert check.examples == 893
    assert [one.feature for one in check.drift] == ["character"]


def test_characters_outside_the_vocabulary_are_refused(text: TextData) -> None:
    check, _, _ = check_text(NewText("drop", "3" * 64, TEXT + "ZZλ"), text, Limits())
    (problem,) = check.problems
    assert "3 of 2,603 characters (0.12%) are not in the vocabulary: 'Z', 'λ'" in problem


def test_another_language_is_refused(text: TextData) -> None:
    check, _, _ = check_text(NewText("drop", "3" * 64, "hhh nnn eee aaa\n" * 60), text, Limits())
    assert check.verdict == "refused"
    assert check.problems[0].startswith("character: PSI")


def test_an_unbalanced_reference_is_the_measure(data: ImageData) -> None:
    labels = np.where(np.arange(900) < 30, 0, np.where(np.arange(900) % 2, 1, 2))
    rare = replace(data, train=ImageSet(data.train.images, labels))
    names = ["cow", "dog"] * 90 + ["cat"] * 6
    assert check_images(new_images(names), rare, Limits())[0].verdict == "fine"
