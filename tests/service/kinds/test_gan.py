"""How a prompt or a list of labels names classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from service.errors import InvalidInputError
from service.kinds.base import Bench
from service.kinds.gan import Gan
from service.lanes import Lanes
from service.loading import LoadedModel, load
from service.metrics import ModelMetrics
from service.settings import Settings
from service.store import Store

FLOWERS = (
    "rose", "lenten rose", "desert-rose", "daisy", "c++ lily", "iris", "fire lily", "lily",
    "foxglove", "oxeye daisy",
)  # fmt: skip


@pytest.fixture(scope="module")
def gan(tiny_store: Path) -> Iterator[Gan]:
    store = Store(tiny_store)
    name = "cifar10-gan"
    model = load(store, name, store.current(name), provider="cpu", warm_rows=())
    renamed = msgspec.structs.replace(model.manifest, labels=FLOWERS)
    lanes = Lanes(1)
    yield Gan(
        LoadedModel(renamed, model.session, model.folder),
        Bench(Settings(), lanes, ModelMetrics("flowers")),
    )
    lanes.close()


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
def test_a_prompt_names_one_class(gan: Gan, prompt: str, label: str) -> None:
    assert FLOWERS[gan.index_in_prompt(prompt)] == label


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
def test_a_prompt_that_names_none_or_two(gan: Gan, prompt: str, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason) as caught:
        gan.index_in_prompt(prompt)
    assert caught.value.field == "prompt"
    assert "foxglove" in caught.value.message


def test_labels_are_gone_through_in_turn(gan: Gan) -> None:
    assert gan.indices(["daisy", "ROSE"], 5) == [3, 0, 3, 0, 3]
    assert gan.indices(["daisy", "daisy"], None) == [3, 3]
    assert gan.indices([], None) == list(range(10))
    assert gan.indices([], 12) == [*range(10), 0, 1]


def test_an_unknown_label_is_named_with_its_place(gan: Gan) -> None:
    with pytest.raises(InvalidInputError, match="no class 'tulip'; there is rose") as caught:
        gan.indices(["rose", "tulip"], 2)
    assert caught.value.field == "labels[1]"


def test_the_gallery_names_what_it_shows(gan: Gan) -> None:
    gallery = gan.gallery(np.zeros((2, 32, 32, 3), np.uint8), [1, 3], seed=5)
    assert [image["label"] for image in gallery["images"]] == ["lenten rose", "daisy"]
    assert gallery["seed"] == 5
