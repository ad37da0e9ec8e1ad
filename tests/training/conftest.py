from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.training.conformance import case
from training.kinds import kinds


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads may sum in another order than one; a test must not depend on the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Synthetic data of every kind."""
    return {kind: case(kind).write_data(tmp_path_factory.mktemp(kind)) for kind in kinds()}


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")
