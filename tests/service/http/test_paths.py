"""Paths are found as a router finds them."""

from __future__ import annotations

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.http.paths import Paths


def route(path: str, *methods: str) -> Route:
    async def endpoint(_: Request) -> Response:
        return Response(path)

    return Route(path, endpoint, methods=list(methods) or None)


ROUTES = [
    route("/models"),
    route("/models/stats"),
    route("/models/{model}"),
    route("/models/{model}/infer", "POST"),
    route("/models/{model}/versions/{version}"),
    route("/models/{model}/versions/{version}/infer", "POST"),
    route("/repository/models/{model}/load", "POST"),
    route("/{rest:path}", "POST"),
]
PATHS = Paths(ROUTES)


@pytest.mark.parametrize(
    ("method", "path", "template", "names"),
    [
        ("GET", "/models", "/models", {}),
        ("HEAD", "/models", "/models", {}),
        ("GET", "/models/stats", "/models/stats", {}),
        ("GET", "/models/a", "/models/{model}", {"model": "a"}),
        ("POST", "/models/a b/infer", "/models/{model}/infer", {"model": "a b"}),
        (
            "POST",
            "/models/a/versions/1/infer",
            "/models/{model}/versions/{version}/infer",
            {"model": "a", "version": "1"},
        ),
        ("POST", "/repository/models/a/load", "/repository/models/{model}/load", {"model": "a"}),
    ],
)
def test_what_is_there_is_found(
    method: str, path: str, template: str, names: dict[str, str]
) -> None:
    endpoint = next(one.endpoint for one in ROUTES if one.path == template)
    assert PATHS.find(method, path) == (endpoint, names)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/models"),
        ("GET", "/models/"),
        ("GET", "/models/a/infer"),
        ("POST", "/models//infer"),
        ("POST", "/models/a/other"),
        ("POST", "/models/a/versions//infer"),
        ("GET", "/other"),
        ("GET", ""),
        ("POST", "/anything/at/all"),
    ],
)
def test_what_is_not_is_left_to_the_router(method: str, path: str) -> None:
    assert PATHS.find(method, path) is None
