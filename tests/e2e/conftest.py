"""One server for the tests that only ask; those that change it start their own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.server import Server, serving

LIMITS: dict[str, object] = {
    "max_body_bytes": 256 * 1024,
    "max_image_pixels": 1_000_000,
    "max_images": 8,
    "max_prompt_chars": 2000,
    "max_tokens": 1000,
    "max_choices": 8,
}


@pytest.fixture(scope="session")
def store_copy(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(tiny_store, tmp_path_factory.mktemp("served") / "store"))


@pytest.fixture(scope="session")
def server(store_copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two workers on the tiny store, ready."""
    with serving(store_copy, tmp_path_factory.mktemp("home"), **LIMITS) as running:
        running.wait_for("/readyz", 200)
        yield running
