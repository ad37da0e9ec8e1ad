"""How a prompt or a list of labels names classes."""

from __future__ import annotations

import pytest

from service.errors import InvalidInputError
from service.labels import Labels

FLOWERS = (
    "rose", "lenten rose", "desert-rose", "daisy", "c++ lily", "iris", "fire lily", "lily",
    "foxglove", "oxeye daisy",
)  # fmt: skip
LABELS = Labels(FLOWERS)


@pytest.mark.parametrize(
    ("prompt", "label"),
    [
        ("rose", "rose"),
        ("a ROSE in the snow", "rose"),
        ("many roses, please", "rose"),
        ("two irises? no: iris", "iris"),
        ("a lenten rose", "lenten rose"),
        ("a Desert-Rose!", "desert-rose"),
        ("an oxeye daisy", "oxeye daisy"),
        ("rose rose rose", "rose"),
        ("fire lily", "fire lily"),
    ],
)
def test_a_prompt_names_one_class(prompt: str, label: str) -> None:
    assert FLOWERS[LABELS.index_in_prompt(prompt)] == label


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("", "no class"),
        ("a tulip", "no class"),
        ("primrose", "no class"),
        ("rosewood", "no class"),
        ("a rose and a daisy", "more than one"),
        ("a lenten rose beside a rose", "more than one"),
    ],
)
def test_a_prompt_that_names_none_or_two(prompt: str, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason) as caught:
        LABELS.index_in_prompt(prompt)
    assert caught.value.field == "prompt"
    assert "foxglove" in caught.value.message


def test_labels_are_gone_through_in_turn() -> None:
    assert LABELS.indices(["daisy", "ROSE"], 5) == [3, 0, 3, 0, 3]
    assert LABELS.indices(["daisy", "daisy"], None) == [3, 3]
    assert LABELS.indices([], None) == list(range(10))
    assert LABELS.indices([], 12) == [*range(10), 0, 1]


def test_an_unknown_label_is_named_with_its_place() -> None:
    with pytest.raises(InvalidInputError, match="no class 'tulip'; there is rose") as caught:
        LABELS.indices(["rose", "tulip"], 2)
    assert caught.value.field == "labels[1]"
