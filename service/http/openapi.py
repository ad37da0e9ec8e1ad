"""The OpenAPI document: what is said of every route, in one form.

A module that makes routes says of each what it takes and gives, in a table of `Operation`s by
method and path (`"POST /v1/classify"`). Types become schemas: msgspec structs and typed
dictionaries. `document` joins the tables with what BentoML says of its own endpoints.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typing_extensions import TypedDict

from service import __version__
from service.http.answers import json_answer

_REF = "#/components/schemas/{name}"
JSON = "application/json"
BYTES = {"type": "string", "format": "binary"}
"""The schema of raw bytes."""

REASONS = {
    400: "A field is missing, unknown, malformed or out of its range",
    403: "Its operator has not switched it on",
    404: "No model of this name, or no such version of it",
    405: "The route does not take this method",
    413: "A body, an image, a text or a request is over its limit",
    415: "A content type that the route does not read",
    422: "An image that cannot be decoded",
    426: "The route speaks WebSocket",
    429: "The queue is full; nothing was computed",
    500: "The service failed",
    503: "The model is not loaded, or the service is starting",
    504: "No answer within the request's time",
}
"""What each status of an error means."""

ASKING = (400, 404, 413, 415, 429, 500, 503, 504)
"""Statuses that a request to a model may get."""


class Problem(TypedDict):
    """What is wrong; `param` names the field at fault."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(TypedDict):
    """OpenAI's error body."""

    error: Problem


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the path, the query or the headers; `schema` is JSON Schema."""

    name: str
    where: str
    description: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})

    def rendered(self) -> dict[str, Any]:
        """As OpenAPI has it."""
        return {
            "name": self.name,
            "in": self.where,
            "required": self.where == "path",
            "description": self.description,
            "schema": dict(self.schema),
        }


MODEL = Parameter("model", "query", "The model, or `name@version`; without it the first by name")
TIMEOUT = Parameter(
    "x-request-timeout-ms",
    "header",
    "The request's own deadline, at most the service's",
    {"type": "integer", "minimum": 1},
)
PRIORITY = Parameter(
    "x-request-priority",
    "header",
    "1 (urgent), 2 (usual) or 3 (when there is room)",
    {"type": "integer", "enum": [1, 2, 3]},
)

Content = type | Mapping[str, Any]
"""What a body is: a type, or a JSON Schema."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What a method of a route takes and gives.

    Args:
        summary: one line.
        tag: the group that it is shown in.
        description: more than the line.
        parameters: of the query and the headers; those of the path are found by themselves.
        body: of the request, by content type; none if empty.
        body_required: whether it must be there.
        answer: of status 200, by content type; no body if empty.
        status: of the usual answer.
        errors: statuses of errors.
        error: the body of an error; None if it has none.

    """

    summary: str
    tag: str
    description: str = ""
    parameters: Sequence[Parameter] = ()
    body: Mapping[str, Content] = field(default_factory=dict)
    body_required: bool = True
    answer: Mapping[str, Content] = field(default_factory=dict)
    status: int = 200
    errors: Sequence[int] = ASKING
    error: type | None = ErrorBody

    def types(self) -> list[type]:
        """Every type that it refers to."""
        found = [*self.body.values(), *self.answer.values(), self.error]
        return [one for one in found if one is not None and not isinstance(one, Mapping)]

    def rendered(self, path: str, schema_of: Callable[[Content], Mapping[str, Any]]) -> Any:
        """As OpenAPI has it."""

        def content(bodies: Mapping[str, Content]) -> dict[str, Any]:
            return {media: {"schema": schema_of(one)} for media, one in bodies.items()}

        answers: dict[str, Any] = {str(self.status): {"description": "The answer"}}
        if self.answer:
            answers[str(self.status)]["content"] = content(self.answer)
        for status in self.errors:
            answers[str(status)] = problem = {"description": REASONS[status]}
            if self.error is not None:
                problem["content"] = content({JSON: self.error})  # type: ignore[assignment]
        rendered: dict[str, Any] = {
            "summary": self.summary,
            "tags": [self.tag],
            "parameters": [one.rendered() for one in (*_of_path(path), *self.parameters)],
            "responses": answers,
        }
        if self.description:
            rendered["description"] = self.description
        if self.body:
            rendered["requestBody"] = {
                "required": self.body_required,
                "content": content(self.body),
            }
        return rendered


Operations = Mapping[str, Operation]
"""Operations by method and path, such as `POST /v1/classify`."""


def _of_path(path: str) -> list[Parameter]:
    return [Parameter(name, "path", name) for name in re.findall(r"{(\w+)}", path)]


def document(
    operations: Operations, bento: Mapping[str, Any], endpoints: Sequence[str]
) -> dict[str, Any]:
    """The whole document, OpenAPI 3.1.

    Args:
        operations: of our routes.
        bento: BentoML's own document, of which the endpoints and their schemas are taken.
        endpoints: paths of BentoML's endpoints.

    """
    types = list(dict.fromkeys(one for each in operations.values() for one in each.types()))
    references, components = msgspec.json.schema_components([*types, ErrorBody], ref_template=_REF)
    by_type = dict(zip([*types, ErrorBody], references, strict=True))

    def schema_of(content: Content) -> Mapping[str, Any]:
        return content if isinstance(content, Mapping) else by_type[content]

    paths: dict[str, dict[str, Any]] = {}
    for key, operation in operations.items():
        method, path = key.split(" ")
        rendered = operation.rendered(path, schema_of)
        rendered["operationId"] = "_".join(re.findall(r"\w+", key)).lower()
        paths.setdefault(path, {})[method.lower()] = rendered
    problem = {"content": {JSON: {"schema": by_type[ErrorBody]}}}
    for path in endpoints:
        paths[path] = copy.deepcopy(bento["paths"][path])
        for one in paths[path].values():
            one["tags"] = ["BentoML's endpoints"]
            one["parameters"] = [TIMEOUT.rendered(), PRIORITY.rendered()]
            usual = one["responses"]
            one["responses"] = {str(code): usual[code] for code in usual if int(code) < 400}
            one["responses"] |= {
                str(code): {"description": REASONS[code], **problem} for code in (*ASKING, 422)
            }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Triptych",
            "version": __version__,
            "description": (
                "A CNN, an LSTM and a conditional GAN behind batched endpoints. Wherever a request "
                "says `model`, it may name a version as well, `name@version`: the one that is "
                "served, or one on trial. `/v1/models` lists them."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "."}],
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": _used(paths, {**bento["components"]["schemas"], **components})},
    }


def _used(paths: Any, schemas: Mapping[str, Any]) -> dict[str, Any]:
    """The schemas that are referred to, from the paths or from one another."""
    found: dict[str, Any] = {}
    todo = [paths]
    prefix = _REF.format(name="")
    while todo:
        one = todo.pop()
        if isinstance(one, Mapping):
            reference = one.get("$ref")
            if isinstance(reference, str):
                name = reference.removeprefix(prefix)
                if name not in found:
                    found[name] = schemas[name]
                    todo.append(schemas[name])
            todo += one.values()
        elif isinstance(one, list | tuple):
            todo += one
    return dict(sorted(found.items()))


OPERATIONS: Operations = {
    f"GET {path}": Operation(
        summary="This document",
        tag="Service",
        answer={JSON: {"type": "object"}},
        errors=(),
    )
    for path in ("/openapi.json", "/docs.json")
}


def routes(make: Callable[[], dict[str, Any]]) -> Sequence[Route]:
    """`/openapi.json`, and `/docs.json`, read by the page at `/docs`; made when asked for."""
    made = cache(make)

    async def show(_: Request) -> Response:
        return json_answer(made())

    return [Route("/openapi.json", show), Route("/docs.json", show)]
