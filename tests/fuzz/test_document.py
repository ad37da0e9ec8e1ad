"""What a machine makes of the OpenAPI document: requests by its schemas, and against them.

Schemathesis derives them; every answer must be one that the document names, in the shape that it
gives, and never a failure of ours.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from service.store import Store
from tests.e2e.server import Server
from tests.fuzz import CASES

CHECKS = [
    status_code_conformance, content_type_conformance, response_schema_conformance,
    negative_data_rejection,
]  # fmt: skip
UPGRADE = "GET /v1/completions/stream"
"""Refused before its parameters are looked at: it takes WebSockets."""
MODELS = ("cifar10", "shakespeare", "cifar10-gan")

EXAMPLES = settings(
    max_examples=max(10, CASES // 25),
    deadline=None,
    derandomize=CASES < 10_000,  # `make fuzz` looks for new ones
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def document(own: Server) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(own.url + "/openapi.json").json()
    return found


def allowed_null(document: dict[str, Any], case: schemathesis.Case) -> bool:
    """Whether a body has a null, and the document allows the whole of it."""
    if not isinstance(case.body, dict) or None not in case.body.values():
        return False
    path = case.operation.path.replace("~", "~0").replace("/", "~1")
    media_type = str(case.media_type).replace("/", "~1")
    pointer = f"#/paths/{path}/{case.method.lower()}/requestBody/content/{media_type}/schema"
    return Draft202012Validator({**document, "$ref": pointer}).is_valid(case.body)


@pytest.fixture(scope="module")
def operations(own: Server) -> dict[str, schemathesis.APIOperation]:
    document = schemathesis.openapi.from_url(own.url + "/openapi.json")
    found = [result.ok() for result in document.get_all_operations()]
    return {operation.label: operation for operation in found}


def placed(case: schemathesis.Case, store: Path, count: int) -> None:
    """Half of the requests for a model name one that is there, and its version."""
    if "model" in case.path_parameters and count % 2:
        model = MODELS[count // 2 % len(MODELS)]
        case.path_parameters["model"] = model
        if "version" in case.path_parameters:
            case.path_parameters["version"] = Store(store).current(model)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_answers_are_as_the_document_says(
    document: dict[str, Any],
    operations: dict[str, schemathesis.APIOperation],
    tiny_store: Path,
    mode: GenerationMode,
) -> None:
    asked: Counter[str] = Counter()
    statuses: Counter[int] = Counter()
    for label, operation in operations.items():
        if label == UPGRADE and mode is GenerationMode.NEGATIVE:
            continue

        @EXAMPLES
        @given(operation.as_strategy(generation_mode=mode))
        def ask(case: schemathesis.Case) -> None:
            asked[case.operation.label] += 1
            placed(case, tiny_store, asked[case.operation.label])
            answer = case.call(timeout=30)
            statuses[answer.status_code] += 1
            hurried = "x-request-timeout-ms" in (case.headers or {})
            assert answer.status_code < 500 or (answer.status_code == 504 and hurried), answer.text
            checks = CHECKS
            if "event-stream" in answer.headers.get("content-type", [""])[0]:
                # Schemathesis would hold each event against the schema of the whole.
                checks = [one for one in checks if one is not response_schema_conformance]
            # A refusal, which Schemathesis does not count as one; and a null, which it takes for a
            # violation of one branch of a field's `anyOf` where the other allows it.
            if answer.status_code == 413 or allowed_null(document, case):
                checks = [one for one in checks if one is not negative_data_rejection]
            case.validate_response(answer, checks=checks)

        with contextlib.suppress(Unsatisfiable):  # nothing can be wrong with what takes nothing
            ask()
    if mode is GenerationMode.POSITIVE:
        assert asked.keys() == operations.keys()
    assert len(asked) > 15
    assert {200, 400, 404} <= statuses.keys(), statuses
