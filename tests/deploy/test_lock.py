"""What the image installs is locked: what serves, its CUDA variant, and what writes its SBOM."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement

from deploy.check_sbom import pins
from tests.deploy.conftest import DEPLOY, ROOT

SERVING = pins((DEPLOY / "requirements.txt").read_text())
CUDA = pins((DEPLOY / "requirements-cuda.txt").read_text())


def lock(what: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, DEPLOY / "lock.py", what], capture_output=True, text=True, check=False
    )


def test_serving_is_locked_and_without_torch() -> None:
    locked = lock("serving").stdout
    assert (DEPLOY / "requirements.txt").read_text() == locked, "run deploy/lock.py again"
    names = {name for name, _ in SERVING}
    assert not {"torch", "torchvision", "onnx", "matplotlib", "cyclonedx-python-lib"} & names
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = dict(SERVING)
    for requirement in map(Requirement, project["dependencies"]):
        version = versions[requirement.name.lower().replace("_", "-")]
        assert requirement.specifier.contains(version)


def test_what_writes_the_sbom_is_locked() -> None:
    locked = lock("sbom").stdout
    assert (DEPLOY / "requirements-sbom.txt").read_text() == locked, "run deploy/lock.py again"


def test_cuda_differs_by_its_runtime_alone() -> None:
    """The same versions of all else, so that both variants answer alike."""
    gone = {name for name, _ in SERVING - CUDA}
    assert gone == {"onnxruntime"}
    added = {name for name, _ in CUDA - SERVING}
    assert {"onnxruntime-gpu", "nvidia-cudnn-cu13", "nvidia-cublas"} <= added
    assert all(name == "onnxruntime-gpu" or name.startswith("nvidia-") for name in added)
    pinned = pins((ROOT / "constraints.txt").read_text().partition("\n")[2])
    assert {one for one in CUDA if not one[0].startswith("nvidia-")} <= pinned
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (wanted,) = map(Requirement, project["optional-dependencies"]["gpu"])
    assert wanted.specifier.contains(dict(CUDA)[wanted.name])


def test_cuda_is_what_the_index_resolves_to() -> None:
    found = lock("cuda")
    if found.returncode != 0 and any(
        word in found.stderr for word in ("connect", "resolve host", "dns", "client error")
    ):
        pytest.skip("no package index is reached")
    assert found.returncode == 0, found.stderr
    assert pins(found.stdout) == CUDA, "run deploy/lock.py cuda again"


def test_an_unknown_part_is_refused() -> None:
    found = lock("lorry")
    assert found.returncode == 1
    assert "lorry is not serving, sbom or cuda" in found.stderr
