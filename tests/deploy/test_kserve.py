"""The InferenceService: KServe's own fields by its API reference, the rest a pod's, held against
Kubernetes' schema; and the routes that KServe asks."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from service.settings import Settings
from tests.deploy.conftest import Served
from tests.deploy.manifests import VERSIONS, Resource, container, only, render, render_overlay

WHOLE = {"type": "integer", "minimum": 0}
EXTENSION = {
    "minReplicas": WHOLE,
    "maxReplicas": WHOLE | {"minimum": 1},
    "scaleTarget": WHOLE | {"minimum": 1},
    "scaleMetric": {"enum": ["cpu", "memory", "concurrency", "rps"]},
    "containerConcurrency": WHOLE,
    "timeout": WHOLE,
    "canaryTrafficPercent": WHOLE | {"maximum": 100},
}
"""ComponentExtensionSpec of serving.kserve.io/v1beta1, its fields that are in use here and a few
neighbours. A predictor has these, and those of a pod."""
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "serving.kserve.io/v1beta1"},
        "kind": {"const": "InferenceService"},
        "metadata": {
            "type": "object",
            "additionalProperties": False,
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$"},
                "annotations": {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "properties": {
                        "serving.kserve.io/deploymentMode": {
                            "enum": ["RawDeployment", "Standard", "Serverless", "Knative"]
                        }
                    },
                },
            },
        },
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["predictor"],
            "properties": {"predictor": {"type": "object", "required": ["containers"]}},
        },
    },
}


def refuse_unknown(resource: Resource) -> None:
    """Raise ValidationError unless it is one, with no field that KServe or a pod lacks."""
    jsonschema.validate(resource, SCHEMA)
    predictor = resource["spec"]["predictor"]
    own = {name: value for name, value in predictor.items() if name in EXTENSION}
    jsonschema.validate(own, {"properties": EXTENSION})
    pod = {name: value for name, value in predictor.items() if name not in EXTENSION}
    whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "predictor"}, "spec": pod}
    for version in VERSIONS:
        kubernetes_validate.validate(whole, version, strict=True)


@pytest.fixture(scope="module")
def service() -> Resource:
    return only(render("kserve"), "InferenceService")


@pytest.fixture(scope="module")
def predictor(service: Resource) -> Any:
    (found,) = service["spec"]["predictor"]["containers"]
    return found


def test_schema(service: Resource) -> None:
    refuse_unknown(service)


@pytest.mark.parametrize("field", ["minReplica", "container", "scaleMetrics"])
def test_a_misspelt_field_would_be_found(service: Resource, field: str) -> None:
    misspelt = service["spec"]["predictor"] | {field: 1}
    with pytest.raises(jsonschema.ValidationError, match=field):
        refuse_unknown(service | {"spec": {"predictor": misspelt}})


def test_it_is_the_container_of_the_deployment(service: Resource, predictor: Any) -> None:
    deployed = container(render_overlay("cpu"))
    for key in ("image", "resources", "securityContext", "volumeMounts"):
        assert predictor[key] == deployed[key]
    settings = {each["name"]: each["value"] for each in predictor["env"] if "value" in each}
    known = Settings.from_environment(settings)
    pod = service["spec"]["predictor"]
    assert pod["terminationGracePeriodSeconds"] >= known.drain_delay_s + known.drain_timeout_s + 3
    assert pod["enableServiceLinks"] is False


def test_it_is_found_by_name_and_port(predictor: Any) -> None:
    assert predictor["name"] == "kserve-container"
    (port,) = predictor["ports"]
    assert (port["name"], port["protocol"]) == ("http1", "TCP")


def test_it_speaks_the_protocol_that_kserve_forwards(served: Served) -> None:
    with urllib.request.urlopen(f"{served.url}/v2/models/cifar10-gan") as answer:
        assert {tensor["name"] for tensor in json.load(answer)["inputs"]} == {"noise", "label"}
