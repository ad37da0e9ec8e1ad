"""The document has every route with every method, and nothing else."""

from __future__ import annotations

import pytest
from openapi_spec_validator import validate
from starlette.routing import Route

from service.http import openapi, surface
from service.http.openapi import JSON, Operation, document
from service.kinds import kinds
from service.runtime import Runtime
from service.settings import Settings

pytestmark = pytest.mark.anyio

REFUSALS = {"/v2/{rest:path}"}
"""Answers to what is not there."""


async def routed(settings: Settings) -> set[str]:
    """Every method of every route of a worker, by what the document calls it."""
    runtime = Runtime(settings)
    try:
        routes = [*surface.routes(runtime), *openapi.routes(dict)]
    finally:
        await runtime.close()
    found: dict[str, set[str]] = {}
    for route in routes:
        if isinstance(route, Route) and route.path not in REFUSALS and route.path not in found:
            found[route.path] = route.methods or set()
    # A GET route takes HEAD as well, always: that goes without saying.
    return {f"{m} {path}" for path, methods in found.items() for m in methods - {"HEAD"}}


async def test_every_route_is_described(tmp_path: object) -> None:
    assert await routed(Settings(store=tmp_path, watch=False)) == set(surface.operations())  # type: ignore[arg-type]


def test_every_kind_describes_its_routes() -> None:
    for kind in kinds().values():
        assert kind.operations, kind


BENTO = {
    "paths": {
        "/sample": {
            "post": {
                "description": "BentoML's words",
                "responses": {
                    "200": {
                        "description": "Ok",
                        "content": {JSON: {"schema": {"$ref": "#/components/schemas/Drawn"}}},
                    },
                    "400": {"description": "BentoML's error"},
                },
            }
        },
        "/other": {"get": {"responses": {"200": {"description": "Ok"}}}},
    },
    "components": {"schemas": {"Drawn": {"type": "object"}, "Unused": {"type": "object"}}},
}


def test_the_document_is_openapi() -> None:
    made = document(surface.operations(), BENTO, ["/sample"])
    validate(made)
    named = {f"{method.upper()} {path}" for path, one in made["paths"].items() for method in one}
    assert named == {*surface.operations(), "POST /sample"}
    identifiers = [
        one["operationId"] for path in made["paths"].values() for one in path.values()
        if "operationId" in one
    ]  # fmt: skip
    assert len(identifiers) == len(set(identifiers)) == len(surface.operations())


def test_endpoints_answer_errors_as_we_do() -> None:
    made = document({}, BENTO, ["/sample"])
    endpoint = made["paths"]["/sample"]["post"]
    assert endpoint["description"] == "BentoML's words"
    assert "BentoML" not in endpoint["responses"]["400"]["description"]
    names = {parameter["name"] for parameter in endpoint["parameters"]}
    assert names == {"x-request-timeout-ms", "x-request-priority"}
    assert set(made["components"]["schemas"]) == {"Drawn", "ErrorBody", "Problem"}
    assert BENTO["paths"]["/sample"]["post"]["responses"]["400"]["description"] == "BentoML's error"  # type: ignore[index]


def test_parameters_of_the_path_are_found() -> None:
    table = {"GET /a/{one}/b/{two}": Operation(summary="A", tag="T", errors=())}
    made = document(table, BENTO, [])
    (operation,) = made["paths"]["/a/{one}/b/{two}"].values()
    assert [(one["name"], one["in"]) for one in operation["parameters"]] == [
        ("one", "path"),
        ("two", "path"),
    ]
    validate(made)
