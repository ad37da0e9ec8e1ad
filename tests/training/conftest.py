from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.tiny_store import make_run
from tests.training.conformance import case
from training.kinds import kinds
from training.options import Options
from training.pipeline import Pipeline


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


@pytest.fixture
def version(tmp_path: Path, sources: dict[str, Path], cache_dir: Path) -> Path:
    """The folder of a text model's published version; its run is `run/`, its store `models/`."""
    options = Options(store=tmp_path / "models", cache_dir=cache_dir, floors=case("lstm").FLOORS)
    return Pipeline(make_run(tmp_path / "run", "lstm", sources["lstm"]), options).run_all()
