"""What a generator says of what it drew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from service.kinds.base import Bench
from service.kinds.gan import Gan
from service.lanes import Lanes
from service.loading import LoadedModel, load
from service.metrics import ModelMetrics
from service.settings import Settings
from service.store import Store

FLOWERS = ("rose", "lenten rose", "desert-rose", "daisy", *"abcdef")


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


def test_the_gallery_names_what_it_shows(gan: Gan) -> None:
    gallery = gan.gallery(np.zeros((2, 32, 32, 3), np.uint8), [1, 3], seed=5)
    assert [image["label"] for image in gallery["images"]] == ["lenten rose", "daisy"]
    assert gallery["seed"] == 5
