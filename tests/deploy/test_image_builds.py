"""Real builds and runs of the image, and of the Bento as one, where tool and base can be had."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.conftest import DEPLOY, ROOT, clean_environment
from tests.ports import free_port

pytestmark = pytest.mark.timeout(1800)

IMAGE, BENTO_IMAGE = "triptych-test:latest", "triptych-bento-test:latest"
DEBIAN = "localhost/triptych-base:bookworm"  # image.sh's name of it
SERVER = """
import os, sys
with open("/tmp/server.pid", "w") as file:
    file.write(str(os.getpid()))
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Keeps the server's process id, to end it as an engine would: buildah itself kills."""


@dataclass(frozen=True)
class Yard:
    """Where images are built.

    Args:
        tool: docker, podman or buildah.
        environment: of every call; buildah gets a storage of its own.
        registry: whether the base image comes from its registry.

    """

    tool: str
    environment: dict[str, str]
    registry: bool

    def run(self, *words: str | Path) -> str:
        """What a command printed; it must end well."""
        found = subprocess.run(
            words, capture_output=True, text=True, check=False, cwd=ROOT, env=self.environment
        )
        assert found.returncode == 0, (words, found.stdout, found.stderr)
        return found.stdout.strip()


def working_tool() -> str | None:
    """The container tool that image.sh would take, if one works."""
    script = f"source {DEPLOY / 'container_tool.sh'} && echo $TOOL"
    found = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else None


def from_registry(tool: str, environment: dict[str, str]) -> bool:
    (base,) = re.findall(r"^ARG BASE=(\S+)", (DEPLOY / "Containerfile").read_text(), re.MULTILINE)
    with contextlib.suppress(subprocess.TimeoutExpired):
        pulled = subprocess.run(
            [tool, "pull", base], capture_output=True, check=False, timeout=300, env=environment
        )
        return pulled.returncode == 0
    return False


@pytest.fixture(scope="module")
def yard(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """Skips where nothing can be built, and says why."""
    if os.environ.get("TRIPTYCH_TEST_IMAGE") == "0":
        pytest.skip("TRIPTYCH_TEST_IMAGE=0: no images are built")
    tool = working_tool()
    if tool is None:
        pytest.skip("none of docker, podman and buildah works here")
    if store != ROOT / "models":
        pytest.skip("the image holds the shipped models, and there is none")
    folder = tmp_path_factory.mktemp("containers")
    environment = clean_environment(
        IMAGE=IMAGE, PYTHON=sys.executable, BENTOML_HOME=str(folder / "bentoml"),
        CONTAINER_TOOL=tool, COLUMNS="1000",  # bentoml breaks the path that it prints
    )  # fmt: skip
    if tool == "buildah":
        info = ["buildah", "info", "--format", "{{.store.GraphDriverName}}"]
        driver = subprocess.run(info, capture_output=True, text=True, check=True).stdout.strip()
        (folder / "storage.conf").write_text(
            f'[storage]\ndriver = "{driver}"\n'
            f'graphroot = "{folder / "graph"}"\nrunroot = "{folder / "run"}"\n'
        )
        environment |= {
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"), "BUILDAH_ISOLATION": "chroot"
        }  # fmt: skip
    registry = from_registry(tool, environment)
    if not registry and (os.getuid() != 0 or shutil.which("debootstrap") is None):
        pytest.skip("no registry is reached; a base of Debian needs debootstrap, and root")
    if not registry:
        environment["BASE"] = "debootstrap"
    yard = Yard(tool, environment, registry)
    yield yard
    if tool == "buildah":
        yard.run("buildah", "rm", "--all")
        yard.run("buildah", "rmi", "--all", "--force")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def image(yard: Yard) -> str:
    yard.run("bash", DEPLOY / "image.sh")
    return IMAGE


def test_image_builds_and_answers(yard: Yard, image: str) -> None:
    yard.environment["PORT"] = str(free_port())
    assert image in (said := yard.run("bash", DEPLOY / "check_image.sh"))
    assert re.search(r"^size +\d+ MiB$", said, re.MULTILINE)


def offline_base(yard: Yard, name: str) -> None:
    """Debian under the name of the Bento's base, with the wheels, and with uv to install them."""
    container = yard.run("buildah", "from", DEBIAN)
    yard.run("buildah", "copy", container, DEPLOY / "wheels", "/wheels")
    uv = shutil.which("uv", path=str(Path(sys.executable).parent))
    assert uv is not None
    yard.run("buildah", "copy", container, uv, "/usr/local/bin/uv")
    for variable in ("UV_FIND_LINKS=/wheels", "UV_OFFLINE=1", "UV_PYTHON_DOWNLOADS=never"):
        yard.run("buildah", "config", "--env", variable, container)
    yard.run("buildah", "commit", "--rm", container, name)


def test_bento_builds_as_an_image_and_answers(yard: Yard, image: str) -> None:
    """`bentoml build`, `bentoml containerize`, and BentoML's own entrypoint."""
    if yard.tool != "buildah":
        pytest.skip(f"runs with buildah alone, and {yard.tool} was found first")
    bentoml = (sys.executable, "-m", "bentoml")
    tag = yard.run(*bentoml, "build", "--output", "tag", ROOT).removeprefix("__tag__:")
    packed = Path(yard.run(*bentoml, "get", tag, "--output", "path"), "env", "docker", "Dockerfile")
    (base,) = re.findall(r"^FROM (\S+)", packed.read_text(), re.MULTILINE)
    if not yard.registry:
        offline_base(yard, f"docker.io/library/{base}")
    yard.run(*bentoml, "containerize", "--backend", "buildah", "-t", BENTO_IMAGE, tag)
    container = yard.run("buildah", "from", BENTO_IMAGE)
    inside = ("buildah", "run", container, "--")
    assert int(yard.run(*inside, "id", "-u")) > 0
    port = free_port()
    entrypoint = "/home/bentoml/bento/env/docker/entrypoint.sh"
    with subprocess.Popen(
        ["buildah", "run", "--env", f"BENTOML_PORT={port}", container, "--",
         "python", "-c", SERVER, entrypoint],
        env=yard.environment,
    ) as server:  # fmt: skip
        yard.run(sys.executable, DEPLOY / "check_service.py", f"http://127.0.0.1:{port}")
        os.kill(int(yard.run(*inside, "cat", "/tmp/server.pid")), signal.SIGTERM)
        assert server.wait(60) == 0
