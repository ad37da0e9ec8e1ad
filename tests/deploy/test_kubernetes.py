"""The manifests as kustomize renders them: valid, restricted, and true to image and service."""

from __future__ import annotations

import json
import tomllib
import urllib.request

import kubernetes_validate
import pytest

from service.settings import Settings
from tests.deploy.conftest import ROOT, Served
from tests.deploy.manifests import (
    COMPONENTS,
    IMAGE_USER,
    KUBERNETES,
    OVERLAYS,
    RESTRICTED_VOLUMES,
    VERSIONS,
    Resource,
    container,
    mebibytes,
    only,
    pod_of,
    pod_spec,
    render,
    render_overlay,
)

RUNNABLE = (*(f"overlays/{name}" for name in OVERLAYS), "base", "retrain", "kserve")


@pytest.fixture(scope="module", params=OVERLAYS)
def resources(request: pytest.FixtureRequest) -> list[Resource]:
    return render_overlay(request.param)


def test_every_folder_is_known_here() -> None:
    assert {path.name for path in (KUBERNETES / "overlays").iterdir()} == set(OVERLAYS)
    assert {path.name for path in (KUBERNETES / "components").iterdir()} == set(COMPONENTS)


def test_what_there_is(resources: list[Resource]) -> None:
    kinds = [resource["kind"] for resource in resources]
    assert len(set(kinds)) == len(kinds)
    assert set(kinds) - {"HorizontalPodAutoscaler", "ServiceAccount"} == {
        *("ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service")
    }
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


@pytest.mark.parametrize("folder", RUNNABLE)
def test_restricted_pod_security_standard(folder: str) -> None:
    """Every pod that is started, whatever starts it."""
    pods = [pod for resource in render(folder) if (pod := pod_of(resource))]
    assert pods
    for pod in pods:
        for key in (
            "hostNetwork",
            "hostPID",
            "hostIPC",
            "hostUsers",
            "automountServiceAccountToken",
        ):
            assert not pod.get(key)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == IMAGE_USER
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert "sysctls" not in pod["securityContext"]
        for volume in pod["volumes"]:
            assert set(volume) - {"name"} <= RESTRICTED_VOLUMES
        for each in pod["containers"] + pod.get("initContainers", []):
            context = each["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["readOnlyRootFilesystem"] is True
            # Nothing that would loosen what the pod says.
            assert set(context) == {
                *("allowPrivilegeEscalation", "capabilities", "readOnlyRootFilesystem")
            }
            assert not any("hostPort" in port for port in each.get("ports", []))


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
    sources = container(resources)["envFrom"]
    (config,) = (source["configMapRef"] for source in sources if "configMapRef" in source)
    assert config["name"] == only(resources, "ConfigMap")["metadata"]["name"]
    mounts = {mount["name"] for mount in container(resources)["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod_spec(resources)["volumes"]}
    (port,) = container(resources)["ports"]
    (service_port,) = only(resources, "Service")["spec"]["ports"]
    assert service_port["targetPort"] == port["name"]
    (ingress,) = only(resources, "NetworkPolicy")["spec"]["ingress"]
    assert [each["port"] for each in ingress["ports"]] == [port["name"]]
    probes = [container(resources)[f"{name}Probe"] for name in ("startup", "readiness", "liveness")]
    assert {probe["httpGet"]["port"] for probe in probes} == {port["name"]}


def test_one_thing_alone_decides_how_many_pods(resources: list[Resource]) -> None:
    deployment = only(resources, "Deployment")
    scalers = [one for one in resources if one["kind"] == "HorizontalPodAutoscaler"]
    assert ("replicas" in deployment["spec"]) != bool(scalers)
    for scaler in scalers:
        target = scaler["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])


def test_image_is_this_release(resources: list[Resource]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    cuda = only(resources, "ConfigMap")["data"].get("TRIPTYCH_PROVIDER") == "cuda"
    assert container(resources)["image"] == f"triptych:{version}{'-cuda' if cuda else ''}"


def settings_of(resources: list[Resource]) -> Settings:
    data = only(resources, "ConfigMap")["data"]
    (threads,) = container(resources)["env"]
    assert threads["name"] == "TRIPTYCH_THREADS"
    assert threads["valueFrom"]["resourceFieldRef"] == {"resource": "requests.cpu"}
    cpu = container(resources)["resources"]["requests"]["cpu"]
    return Settings.from_environment(data | {"TRIPTYCH_THREADS": cpu})


def test_settings_are_known_to_the_service(resources: list[Resource]) -> None:
    settings_of(resources)
    # Else Kubernetes itself adds TRIPTYCH_PORT and others, which no setting bears.
    assert pod_spec(resources)["enableServiceLinks"] is False


def test_memory_is_what_was_measured() -> None:
    """Requested: what all processes of a worker held under load, and not much more."""
    measured_mib = json.loads((ROOT / "docs" / "bench.json").read_text())["service"]["tree_pss_mib"]
    asked = container(render_overlay("cpu"))["resources"]
    assert measured_mib <= mebibytes(asked["requests"]["memory"]) <= 1.5 * measured_mib
    settings = settings_of(render_overlay("cpu"))
    assert mebibytes(asked["limits"]["memory"]) >= settings.arena_mib + 256
    assert "cpu" not in asked["limits"], "throttling shows as latency"


def test_a_pod_has_time_to_leave(resources: list[Resource]) -> None:
    settings = settings_of(resources)
    needed_s = settings.drain_delay_s + settings.drain_timeout_s + 3
    assert pod_spec(resources)["terminationGracePeriodSeconds"] >= needed_s
    probe = container(resources)["readinessProbe"]
    assert settings.drain_delay_s >= probe["periodSeconds"]


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_probes_are_answered(served: Served, probe: str) -> None:
    for each in (
        container(render("base")),
        render("kserve")[0]["spec"]["predictor"]["containers"][0],
    ):
        with urllib.request.urlopen(served.url + each[probe]["httpGet"]["path"]) as answer:
            assert answer.status == 200


def test_gpu_pods_get_a_gpu_and_the_cuda_image() -> None:
    resources = render_overlay("gpu")
    assert container(resources)["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert settings_of(resources).provider == "cuda"
    assert pod_spec(resources)["tolerations"][0]["key"] == "nvidia.com/gpu"


def test_a_bucket_is_reached_and_kept_a_copy_of() -> None:
    resources = render_overlay("s3-store")
    settings = settings_of(resources)
    assert settings.store.startswith("s3://")
    mounts = {mount["mountPath"]: mount for mount in container(resources)["volumeMounts"]}
    assert not mounts[settings.store_cache].get("readOnly")
    account = only(resources, "ServiceAccount")
    assert pod_spec(resources)["serviceAccountName"] == account["metadata"]["name"]
    ports = {
        (port["protocol"], port["port"])
        for rule in only(resources, "NetworkPolicy")["spec"]["egress"]
        for port in rule["ports"]
    }
    assert ports == {("UDP", 53), ("TCP", 53), ("TCP", 443)}


def test_other_pods_reach_out_to_nobody() -> None:
    for name in set(OVERLAYS) - {"s3-store"}:
        policy = only(render_overlay(name), "NetworkPolicy")["spec"]
        assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
        assert not policy.get("egress")


def test_models_on_a_volume_are_the_store_and_read_only() -> None:
    resources = render_overlay("volume-store")
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
