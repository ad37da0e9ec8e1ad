"""Components that scale and watch the pods, valid against their operators' schemas.

That Prometheus answers what they ask is seen in test_monitoring.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import PrometheusRule, ServiceMonitor

from tests.deploy.manifests import KUBERNETES, VERSIONS, Resource, only, render_with
from tests.deploy.prometheus import RULES, SHIPPED

OPERATORS: dict[str, Any] = {
    "ScaledObject": ScaledObject,
    "ServiceMonitor": ServiceMonitor,
    "PrometheusRule": PrometheusRule,
}
"""Models that were generated from the operators' own resource definitions."""


def refuse_unknown(resource: Resource) -> None:
    """Raise unless the operator's schema takes it, each of its fields included."""
    model = OPERATORS[resource["kind"]].model_validate(resource)
    understood = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert understood == resource, "a field is unknown to the operator"


def test_queue_autoscaler(tmp_path: Path) -> None:
    resources = render_with(tmp_path, "base", "queue-autoscaling")
    scaler = only(resources, "HorizontalPodAutoscaler")
    for version in VERSIONS:
        kubernetes_validate.validate(scaler, version, strict=True)
    (metric,) = scaler["spec"]["metrics"]
    (rule,) = yaml.safe_load(
        (KUBERNETES / "components/queue-autoscaling/prometheus-adapter.yaml").read_text()
    )["rules"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    assert (
        scaler["spec"]["scaleTargetRef"]["name"]
        == only(resources, "Deployment")["metadata"]["name"]
    )


def test_keda(tmp_path: Path) -> None:
    resources = render_with(tmp_path, "base", "keda")
    scaled = only(resources, "ScaledObject")
    refuse_unknown(scaled)
    name = only(resources, "Deployment")["metadata"]["name"]
    assert scaled["spec"]["scaleTargetRef"]["name"] == name
    assert not any(one["kind"] == "HorizontalPodAutoscaler" for one in resources)
    (trigger,) = scaled["spec"]["triggers"]
    # What KEDA's prometheus scaler demands.
    assert {"serverAddress", "query", "threshold"} <= set(trigger["metadata"])
    assert all(isinstance(value, str) for value in trigger["metadata"].values())


def test_monitoring(tmp_path: Path) -> None:
    resources = render_with(tmp_path, "overlays/cpu", "monitoring")
    monitor = only(resources, "ServiceMonitor")
    rules = only(resources, "PrometheusRule")
    refuse_unknown(monitor)
    refuse_unknown(rules)
    shipped = [yaml.safe_load((SHIPPED / file).read_text())["groups"] for file in RULES]
    assert rules["spec"] == {"groups": [group for groups in shipped for group in groups]}
    service = only(resources, "Service")
    assert (
        monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    )
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    # The alerts on `up` ask for this job.
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "triptych"


@pytest.mark.parametrize("kind", OPERATORS)
def test_a_misspelt_field_would_be_found(tmp_path: Path, kind: str) -> None:
    resource = only(render_with(tmp_path, "overlays/cpu", "monitoring", "keda"), kind)
    misspelt = resource | {"spec": resource["spec"] | {"interwal": "15s"}}
    with pytest.raises(AssertionError, match="unknown"):
        refuse_unknown(misspelt)
