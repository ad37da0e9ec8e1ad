"""Retraining on a schedule: the CronJob, the image that it runs, and the CI workflow."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploy.conftest import DEPLOY, ROOT
from tests.deploy.manifests import (
    IMAGE_USER,
    RESTRICTED_VOLUMES,
    VERSIONS,
    Resource,
    only,
    pod_spec,
    render,
    render_overlay,
)
from training import cli
from training.arguments import build_parser

CONTAINERFILE = (DEPLOY / "Containerfile.train").read_text()
WORKFLOW = DEPLOY / "ci" / "retrain.yaml"


@pytest.fixture(scope="module", params=["retrain", "retrain-s3"])
def resources(request: pytest.FixtureRequest) -> list[Resource]:
    return render(request.param)


@pytest.fixture(scope="module")
def job(resources: list[Resource]) -> Any:
    return only(resources, "CronJob")["spec"]["jobTemplate"]["spec"]


@pytest.fixture(scope="module")
def container(job: Any) -> Any:
    (found,) = job["template"]["spec"]["containers"]
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_schemas(resources: list[Resource], version: str) -> None:
    assert sorted(resource["kind"] for resource in resources) == ["ConfigMap", "CronJob"]
    for resource in resources:
        kubernetes_validate.validate(resource, version, strict=True)


def test_restricted_pod_security_standard(job: Any, container: Any) -> None:
    pod = job["template"]["spec"]
    for key in ("hostNetwork", "hostPID", "hostIPC", "automountServiceAccountToken"):
        assert not pod.get(key)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == IMAGE_USER
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for volume in pod["volumes"]:
        assert set(volume) - {"name"} <= RESTRICTED_VOLUMES
    context = container["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["readOnlyRootFilesystem"] is True
    assert container["resources"]["requests"]
    assert container["resources"]["limits"]["memory"]


def test_one_at_a_time_and_not_again_what_was_refused(
    resources: list[Resource], job: Any, container: Any
) -> None:
    assert only(resources, "CronJob")["spec"]["concurrencyPolicy"] == "Forbid"
    # A policy on exit codes counts for pods that are not restarted in place.
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    rules = job["podFailurePolicy"]["rules"]
    (stops,) = (rule["onExitCodes"] for rule in rules if rule["action"] == "FailJob")
    assert stops["containerName"] == container["name"]
    assert stops["operator"] == "In"
    assert set(stops["values"]) == {cli.EXIT_USAGE, cli.EXIT_REFUSED, cli.EXIT_FAILED}
    assert cli.EXIT_INTERRUPTED not in stops["values"]
    assert job["backoffLimit"] > 0


def test_its_command_line_is_one(resources: list[Resource], job: Any, container: Any) -> None:
    config = only(resources, "ConfigMap")
    assert container["envFrom"][0]["configMapRef"]["name"] == config["metadata"]["name"]
    words = [
        re.sub(r"\$\((\w+)\)", lambda found: config["data"][found[1]], word)
        for word in container["args"]
    ]
    nothing: dict[str, Any] = {
        name: lambda _: None
        for name in (*("step", "presets", "data", "search", "reproduce", "store", "drift"),)
    }
    asked = build_parser(**nothing).parse_args(words)
    assert asked.step == "run"
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    volumes = {mount["name"] for mount in mounts.values()}
    assert volumes == {volume["name"] for volume in job["template"]["spec"]["volumes"]}
    assert str(asked.runs) in mounts
    assert str(asked.store).startswith("s3://") or not mounts[str(asked.store)].get("readOnly")
    for path in (asked.data, asked.new_data):
        assert path.startswith("s3://") or any(path.startswith(f"{one}/") for one in mounts)


def claims(pod: Any) -> dict[str, str]:
    return {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    }


def test_it_publishes_where_the_service_reads(resources: list[Resource], job: Any) -> None:
    pod, config = job["template"]["spec"], only(resources, "ConfigMap")["data"]
    if "models" in claims(pod):
        read = pod_spec(render_overlay("volume-store"))
        assert claims(pod)["models"] == claims(read)["models"]
        return
    service = render_overlay("s3-store")
    reads = only(service, "ConfigMap")["data"]
    assert (config["STORE"], config["AWS_REGION"]) == (reads["TRIPTYCH_STORE"], reads["AWS_REGION"])
    read = pod_spec(service)
    assert pod["serviceAccountName"] == read["serviceAccountName"]
    assert pod["containers"][0]["envFrom"][1] == read["containers"][0]["envFrom"][1]


def test_the_service_sends_it_no_requests(job: Any) -> None:
    labels = job["template"]["metadata"]["labels"].items()
    service = render_overlay("volume-store")
    for selector in (
        only(service, "Service")["spec"]["selector"],
        only(service, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ):
        assert not selector.items() <= labels


def test_its_image_is_of_this_release_with_the_train_extra(container: Any) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert container["image"] == f"triptych-train:{project['version']}"
    assert "'.[train]'" in CONTAINERFILE
    assert "train" in project["optional-dependencies"]
    assert f"USER {IMAGE_USER}:{IMAGE_USER}" in CONTAINERFILE
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", CONTAINERFILE, flags=re.MULTILINE)
    assert json.loads(entry)[0] in project["scripts"]
    copied = {
        source
        for words in re.findall(r"^COPY (.*)$", CONTAINERFILE, flags=re.MULTILINE)
        for source in words.split()[:-1]
    }
    ignore = (DEPLOY / "Containerfile.train.dockerignore").read_text().splitlines()
    assert copied == {line[1:] for line in ignore if line.startswith("!")}
    assert all((ROOT / path).exists() for path in copied)


def test_the_workflow_is_valid() -> None:
    found = subprocess.run(
        [
            *(sys.executable, "-m", "check_jsonschema"),
            *("--builtin-schema", "vendor.github-workflows", WORKFLOW),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_workflow_runs_on_a_schedule_by_hand_and_on_new_data() -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text())
    when = workflow[True]  # YAML 1.1 reads `on` so
    assert set(when) == {"schedule", "workflow_dispatch", "push"}
    assert when["push"]["paths"] == ["new-data/**"]
    assert workflow["concurrency"]["cancel-in-progress"] is False


def test_the_workflow_retrains_by_make(tmp_path: Any) -> None:
    """Its shell step, with a make that only says what it was asked."""
    workflow = yaml.safe_load(WORKFLOW.read_text())
    (step,) = (
        step for step in workflow["jobs"]["retrain"]["steps"] if step.get("name") == "Retrain"
    )
    (tmp_path / "new-data" / "pets").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    make = tmp_path / "bin" / "make"
    make.write_text(f'#!/bin/sh\nexec /usr/bin/make --dry-run -C "{ROOT}" "$@"\n')
    make.chmod(0o755)
    said = []
    for model in ("", "other"):
        done = subprocess.run(
            ["bash", "-e", "-c", step["run"]],
            cwd=tmp_path,
            env={
                "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
                "MODEL": model,
                "OPTIONS": "--seed 3",
            },
            capture_output=True,
            text=True,
            check=True,
        )
        said.append(done.stdout)
    assert "run --model pets" in said[0]
    assert "--new-data new-data/pets --resume auto --seed 3" in said[0]
    assert "run --model other" in said[1]
    assert "--new-data" not in said[1]
