"""What kustomize renders of deploy/kubernetes, and how to find one's way in it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

from tests.deploy.conftest import DEPLOY, program

Resource = dict[str, Any]

KUBERNETES = DEPLOY / "kubernetes"
OVERLAYS = ("cpu", "gpu", "s3-store", "volume-store")
COMPONENTS = ("cpu-autoscaling", "queue-autoscaling", "keda", "monitoring")
VERSIONS = ("1.30", kubernetes_validate.latest_version())
IMAGE_USER = 10001
RESTRICTED_VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
    *("persistentVolumeClaim", "projected", "secret"),
}


def render(folder: str | Path) -> list[Resource]:
    """The resources of a kustomization: a folder of deploy/kubernetes, or any."""
    kustomize = program("kustomize", "kubectl")
    command = "build" if Path(kustomize).name == "kustomize" else "kustomize"
    result = subprocess.run(
        [kustomize, command, KUBERNETES / folder], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return [document for document in yaml.safe_load_all(result.stdout) if document]


def render_overlay(name: str) -> list[Resource]:
    return render(f"overlays/{name}")


def render_with(folder: Path, base: str, *components: str) -> list[Resource]:
    """A kustomization of one's own in `folder`, of a folder of deploy/kubernetes and components."""

    def relative(path: str) -> str:
        return os.path.relpath(KUBERNETES / path, folder.resolve())

    wanted = {
        "resources": [relative(base)],
        "components": [relative(f"components/{name}") for name in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(wanted))
    return render(folder.resolve())


def only(resources: list[Resource], kind: str) -> Resource:
    (found,) = [resource for resource in resources if resource["kind"] == kind]
    return found


def pod_of(resource: Resource) -> Any:
    """The pod that a resource starts; None if it starts none."""
    kind, spec = resource["kind"], resource.get("spec", {})
    if kind == "CronJob":
        return spec["jobTemplate"]["spec"]["template"]["spec"]
    if kind == "InferenceService":
        return spec["predictor"]
    return spec["template"]["spec"] if "template" in spec else None


def pod_spec(resources: list[Resource]) -> Any:
    return pod_of(only(resources, "Deployment"))


def container(resources: list[Resource]) -> Any:
    (found,) = pod_spec(resources)["containers"]
    return found


def mebibytes(quantity: str) -> int:
    """Mi and Gi, which is all that is used."""
    number, unit = quantity[:-2], quantity[-2:]
    return int(number) * {"Mi": 1, "Gi": 1024}[unit]


def scaling_queries() -> dict[str, str]:
    """What prometheus-adapter and KEDA ask Prometheus, placeholders filled as the adapter does."""
    folder = KUBERNETES / "components"
    adapter = yaml.safe_load((folder / "queue-autoscaling/prometheus-adapter.yaml").read_text())
    scaled = yaml.safe_load((folder / "keda/scaledobject.yaml").read_text())
    (rule,) = adapter["rules"]
    series = re.match(r"\w+", rule["seriesQuery"])
    assert series is not None
    asked = rule["metricsQuery"].replace("<<.Series>>", series[0])
    asked = asked.replace("<<.LabelMatchers>>", 'job="triptych"')
    asked = asked.replace("<<.GroupBy>>", "instance")
    return {"adapter": asked, "keda": scaled["spec"]["triggers"][0]["metadata"]["query"]}
