"""The image: what goes into it, and what it runs as, as its file says."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from tests.deploy.conftest import DEPLOY, ROOT, clean_environment, program
from tests.deploy.manifests import IMAGE_USER

CONTAINERFILE = (DEPLOY / "Containerfile").read_text()
SCRIPTS = (
    "image.sh", "check_image.sh", "container_tool.sh", "debian_base.sh",
    "../tests/bench/load/run.sh",
)  # fmt: skip


def instructions(name: str) -> list[str]:
    """Arguments of every instruction of that name, continued lines joined."""
    joined = CONTAINERFILE.replace("\\\n", " ")
    return re.findall(rf"^{name}\s+(.*)$", joined, flags=re.MULTILINE)


def test_base_is_pinned_and_the_same_in_both_stages() -> None:
    assert re.search(r"^ARG BASE=\S+:3\.11\.\d+-\S+$", CONTAINERFILE, flags=re.MULTILINE)
    assert instructions("FROM") == ["${BASE} AS build", "${BASE}"]


def test_it_runs_as_a_numbered_user() -> None:
    assert instructions("USER") == [f"{IMAGE_USER}:{IMAGE_USER}"]


@pytest.mark.parametrize("name", ["CMD", "HEALTHCHECK"])
def test_commands_need_no_shell(name: str) -> None:
    """In exec form: a list of words that the kernel can run."""
    text = instructions(name)[-1]
    words = json.loads(text[text.index("[") :])
    assert all(isinstance(word, str) for word in words)
    assert words[0] in ("bentoml", "python")


def test_what_enters_the_build_is_listed_and_exists() -> None:
    lines = (DEPLOY / "Containerfile.dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    listed = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        source
        for arguments in instructions("COPY")
        if not arguments.startswith("--from")
        for source in arguments.split()[:-1]
    }
    assert copied == listed
    assert all((ROOT / path).exists() for path in listed)
    assert not any("training" in path for path in listed)


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts(script: str) -> None:
    shellcheck = program("shellcheck")
    result = subprocess.run(
        [shellcheck, "--external-sources", script],
        cwd=DEPLOY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout


def test_an_unknown_tool_is_refused() -> None:
    result = subprocess.run(
        ["bash", DEPLOY / "image.sh"],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(CONTAINER_TOOL="lorry"),
    )
    assert result.returncode == 1
    assert "CONTAINER_TOOL=lorry is not docker, podman or buildah" in result.stderr
