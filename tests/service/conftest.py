"""A store that a test may change, and a registry on it that nobody has opened yet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.lanes import Lanes
from service.registry import Registry
from service.settings import Settings
from service.store import Store
from tests.service.variants import copy_store


@pytest.fixture
def store(tiny_store: Path, tmp_path: Path) -> Store:
    return copy_store(tiny_store, tmp_path / "store")


@pytest.fixture
async def registry(store: Store) -> AsyncIterator[Registry]:
    lanes = Lanes(1)
    made = Registry(Settings(store=store.home.location, max_batch_rows=4), store, lanes)
    yield made
    await made.close()
    lanes.close()
