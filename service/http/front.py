"""The ASGI application in front: our routes first, BentoML's after.

BentoML wraps every route, mounted ones too, in metrics, tracing, access-log and timeout layers
that together cost more than a small model's inference. Our routes are therefore dispatched before
them; they bring their own bounded metrics, limits and errors. What is left (BentoML's endpoints,
its OpenAPI page and schema) passes a guard that closes what BentoML leaves open: bodies without a
limit, files fetched from a URL that the client names, malformed bodies answered as our failure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import (
    InvalidInputError,
    MethodNotAllowedError,
    TriptychError,
    UnknownNameError,
    UnsupportedMediaError,
)
from service.http.answers import error_answer
from service.http.bodies import media_type, parse_form, read_body
from service.settings import Settings


class Front:
    """Our routes, then `behind`.

    Args:
        routes: ours.
        behind: BentoML's application.
        endpoints: paths of BentoML's endpoints, which are guarded, and what BentoML validates
            their input with.
        settings: limits.

    """

    def __init__(
        self,
        routes: Sequence[Route],
        behind: ASGIApp,
        endpoints: Mapping[str, type[BaseModel]],
        settings: Settings,
    ) -> None:
        router = Router(routes, redirect_slashes=False, default=_not_found)
        refusing = ExceptionMiddleware(router, handlers={HTTPException: _refused})
        self._ours = ServerErrorMiddleware(refusing, handler=_failed)
        self._behind = behind
        self._endpoints = dict(endpoints)
        self._settings = settings
        self._exact = {route.path for route in routes if "{" not in route.path}
        # Most requests need no router: the endpoint frames its own errors.
        self._direct = {
            (method, route.path): route.endpoint
            for route in routes
            if route.path in self._exact
            for method in route.methods or ()
        }
        self._patterns = [route for route in routes if "{" in route.path]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._behind(scope, receive, send)
            return
        scope["app"] = self  # so that Starlette raises errors instead of answering them itself
        path = scope["path"]
        direct = self._direct.get((scope["method"], path))
        if direct is not None:
            response = await direct(Request(scope, receive, send))
            await response(scope, receive, send)
        elif path in self._exact or path.startswith("/v1/") or self._matches(scope):
            await self._ours(scope, receive, send)
        elif path in self._endpoints and scope["method"] == "POST":
            await self._guarded(scope, receive, send)
        else:
            await self._behind(scope, receive, send)

    def _matches(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is not Match.NONE for route in self._patterns)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body within its limit, refuse what BentoML would stumble over, pass it on."""
        request = Request(scope, receive)
        try:
            body = await read_body(request, max_bytes=self._settings.max_body_bytes)
            await self._check(request, body)
        except ClientDisconnect:
            return
        except TriptychError as error:
            await error_answer(error)(scope, receive, send)
            return
        told = False

        async def replay() -> Message:
            nonlocal told
            if told:
                return await receive()
            told = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._behind(scope, replay, send)

    async def _check(self, request: Request, body: bytes) -> None:
        media = media_type(request)
        spec = self._endpoints[request.scope["path"]]
        files: frozenset[str] = frozenset(getattr(spec, "multipart_fields", ()))
        if media == "multipart/form-data":
            form = await parse_form(
                body,
                request.headers,
                max_bytes=self._settings.max_body_bytes,
                max_files=self._settings.max_images,
            )
            try:
                _check_form(spec, form, files)
            finally:
                await form.close()
        elif media in ("", "application/json"):
            try:
                content = msgspec.json.decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise InvalidInputError(
                    f"the body is not valid JSON: {error}", field="body"
                ) from error
            if not isinstance(content, dict):
                raise InvalidInputError("the body must be a JSON object", field="body")
            if sent := files & set(content):
                raise UnsupportedMediaError(
                    f"send {min(sent)} as files in multipart/form-data", field=min(sent)
                )
            _check_names(spec, content)
            _validate(lambda: spec.model_validate_json(body))
        else:
            raise UnsupportedMediaError(
                f"this endpoint reads application/json or multipart/form-data, not {media}",
                field="content-type",
            )


def _check_form(spec: type[BaseModel], form: FormData, files: frozenset[str]) -> None:
    _check_names(spec, form)
    content: dict[str, Any] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name not in files:
                raise InvalidInputError(f"{name} must be text, not a file", field=name)
        elif name in files:
            raise InvalidInputError(
                f"{name} must be files: nothing is fetched from an address", field=name
            )
        else:
            content[name] = _value(name, value)
    _validate(lambda: spec.model_validate(content), given=files & set(form))


def _value(name: str, text: str) -> Any:
    """A form's text field as BentoML reads it: JSON where it is that, else text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
    except (ValueError, RecursionError) as error:  # too many digits, too deep
        raise InvalidInputError(f"{name} cannot be read: {error}", field=name) from error


def _check_names(spec: type[BaseModel], names: Iterable[str]) -> None:
    known = spec.model_fields
    for name in names:
        if name not in known:
            raise InvalidInputError(
                f"{name} is not a parameter; there is {', '.join(known)}", field=name
            )


def _validate(validate: Callable[[], object], *, given: frozenset[str] = frozenset()) -> None:
    """Refuse what BentoML would refuse with a traceback; `given` files are not looked into."""
    try:
        validate()
    except ValidationError as error:
        for one in error.errors(include_url=False):
            field = ".".join(map(str, one["loc"]))
            if field not in given:
                raise InvalidInputError(f"{field}: {one['msg']}", field=field) from error


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    error = UnknownNameError(f"there is no route {scope['path']}")
    await error_answer(error)(scope, receive, send)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    allowed = (error.headers or {}).get("Allow", "")
    refused = MethodNotAllowedError(
        f"{request.url.path} does not take {request.method}; it takes {allowed}"
    )
    answer = error_answer(refused)
    answer.headers["allow"] = allowed
    return answer


async def _failed(_: Request, error: Exception) -> Response:
    return error_answer(error)
