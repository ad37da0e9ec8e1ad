"""A server for each module that fuzzes one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import LIMITS
from tests.e2e.server import Server, serving


@pytest.fixture(scope="module")
def own(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that nobody else asks, so that its memory is the fuzzer's doing."""
    store = Path(shutil.copytree(tiny_store, tmp_path_factory.mktemp("fuzzed") / "store"))
    with serving(store, tmp_path_factory.mktemp("home"), **LIMITS, workers=1) as running:
        running.wait_for("/readyz", 200)
        yield running
