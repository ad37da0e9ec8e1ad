"""`bentoml build` packs the service and its models, with versions pinned and without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.conftest import ROOT, clean_environment


@pytest.fixture(scope="module")
def bento(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a Bento that was just built."""
    home = tmp_path_factory.mktemp("bentoml")
    result = subprocess.run(
        [sys.executable, "-m", "bentoml", "build", "--output", "tag", str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(BENTOML_HOME=str(home)),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    (folder,) = (path for path in (home / "bentos" / "triptych").iterdir() if path.is_dir())
    return folder


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_service_is_in_it(bento: Path) -> None:
    ours = {name for name in files(ROOT / "service") if not name.endswith(".pyc")}
    assert files(bento / "src" / "service") == ours


def test_the_shipped_models_are_in_it(bento: Path) -> None:
    ours = {name for name in files(ROOT / "models") if not name.startswith(".")}
    packed = bento / "src" / "models"
    assert (files(packed) if packed.exists() else set()) == ours


def test_nothing_else_is_in_it(bento: Path) -> None:
    assert {path.name for path in (bento / "src").iterdir()} <= {
        *("service", "models", "bentofile.yaml"),
    }


def test_requirements_are_the_pinned_ones(bento: Path) -> None:
    packed = (bento / "env" / "python" / "requirements.txt").read_text().split()
    # As a set: BentoML names itself once more.
    assert set(packed) == set((ROOT / "deploy" / "requirements.txt").read_text().split())
