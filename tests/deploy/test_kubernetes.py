"""The manifests as kustomize renders them: valid, restricted, and true to image and service."""

from __future__ import annotations

import subprocess
import tomllib
import urllib.request
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.settings import Settings
from tests.deploy.conftest import DEPLOY, ROOT, Served, program

Resource = dict[str, Any]

OVERLAYS = ("base", "store")
VERSIONS = ("1.30", kubernetes_validate.latest_version())  # preStop's sleep came with 1.30
GRACEFUL_S = 30  # --timeout-graceful-shutdown of the image's command; test_image.py looks
IMAGE_USER = 10001
RESTRICTED_VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
    *("persistentVolumeClaim", "projected", "secret"),
}


def render(overlay: str) -> list[Resource]:
    kustomize = program("kustomize", "kubectl")
    command = "build" if Path(kustomize).name == "kustomize" else "kustomize"
    result = subprocess.run(
        [kustomize, command, DEPLOY / "kubernetes" / overlay],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return [document for document in yaml.safe_load_all(result.stdout) if document]


@pytest.fixture(scope="module", params=OVERLAYS)
def resources(request: pytest.FixtureRequest) -> list[Resource]:
    return render(request.param)


def only(resources: list[Resource], kind: str) -> Resource:
    (found,) = [resource for resource in resources if resource["kind"] == kind]
    return found


def pod_spec(resources: list[Resource]) -> Any:
    return only(resources, "Deployment")["spec"]["template"]["spec"]


def container(resources: list[Resource]) -> Any:
    (found,) = pod_spec(resources)["containers"]
    return found


def test_what_there_is(resources: list[Resource]) -> None:
    assert sorted(resource["kind"] for resource in resources) == [
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
    ]
    assert not any("namespace" in resource["metadata"] for resource in resources)


@pytest.mark.parametrize("version", VERSIONS)
def test_schemas(resources: list[Resource], version: str) -> None:
    for resource in resources:
        kubernetes_validate.validate(resource, version, strict=True)


def test_a_misspelt_key_would_be_found(resources: list[Resource]) -> None:
    deployment = only(resources, "Deployment")
    misspelt = deployment | {"spec": deployment["spec"] | {"replica": 1}}
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(misspelt, VERSIONS[-1], strict=True)


def test_restricted_pod_security_standard(resources: list[Resource]) -> None:
    pod = pod_spec(resources)
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        assert not pod.get(key)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == IMAGE_USER
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for volume in pod["volumes"]:
        assert set(volume) - {"name"} <= RESTRICTED_VOLUMES
    for each in pod["containers"] + pod.get("initContainers", []):
        context = each["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"] is True
        assert not context.get("privileged")
        assert not any("hostPort" in port for port in each["ports"])


def test_selectors_find_the_pods(resources: list[Resource]) -> None:
    labels = only(resources, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        only(resources, "Deployment")["spec"]["selector"]["matchLabels"],
        only(resources, "Service")["spec"]["selector"],
        only(resources, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        only(resources, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(
            spread["labelSelector"]["matchLabels"]
            for spread in pod_spec(resources)["topologySpreadConstraints"]
        ),
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels


def test_references_between_resources(resources: list[Resource]) -> None:
    deployment = only(resources, "Deployment")
    target = only(resources, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    assert "replicas" not in deployment["spec"]
    (source,) = container(resources)["envFrom"]
    assert source["configMapRef"]["name"] == only(resources, "ConfigMap")["metadata"]["name"]
    mounts = {mount["name"] for mount in container(resources)["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod_spec(resources)["volumes"]}
    (port,) = container(resources)["ports"]
    (service_port,) = only(resources, "Service")["spec"]["ports"]
    assert service_port["targetPort"] == port["name"]
    probes = [container(resources)[f"{name}Probe"] for name in ("startup", "readiness", "liveness")]
    assert {probe["httpGet"]["port"] for probe in probes} == {port["name"]}


def test_image_is_this_release(resources: list[Resource]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert container(resources)["image"] == f"triptych:{version}"


def test_settings_are_known_to_the_service(resources: list[Resource]) -> None:
    data = only(resources, "ConfigMap")["data"]
    settings = Settings.from_environment(data | {"TRIPTYCH_THREADS": "2"})
    (threads,) = container(resources)["env"]
    assert threads["name"] == "TRIPTYCH_THREADS"
    # Else Kubernetes itself adds TRIPTYCH_PORT and others, which no setting bears.
    assert pod_spec(resources)["enableServiceLinks"] is False
    limit = container(resources)["resources"]["limits"]["memory"]
    assert limit.endswith("Gi")
    assert int(limit[:-2]) * 1024 >= settings.arena_mib + 256


def test_a_pod_has_time_to_leave(resources: list[Resource]) -> None:
    leaving_s = container(resources)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod_spec(resources)["terminationGracePeriodSeconds"] >= leaving_s + GRACEFUL_S


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_probes_are_answered(served: Served, probe: str) -> None:
    path = container(render("base"))[probe]["httpGet"]["path"]
    with urllib.request.urlopen(served.url + path) as answer:
        assert answer.status == 200


def test_models_on_a_volume_are_the_store_and_read_only() -> None:
    resources = render("store")
    data = only(resources, "ConfigMap")["data"]
    (mount,) = [
        mount for mount in container(resources)["volumeMounts"] if mount["name"] == "models"
    ]
    assert mount["mountPath"] == data["TRIPTYCH_STORE"]
    assert mount["readOnly"] is True
    (volume,) = [volume for volume in pod_spec(resources)["volumes"] if volume["name"] == "models"]
    assert volume["persistentVolumeClaim"]["readOnly"] is True
    # Read by watchfiles: without it a publish from another machine goes unseen.
    assert data["WATCHFILES_FORCE_POLLING"] == "true"
