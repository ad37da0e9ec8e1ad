"""The ASGI application in front: our routes first, BentoML's after.

BentoML wraps every route, mounted ones too, in metrics, tracing, access-log and timeout layers
that together cost more than a small model's inference. Our routes are therefore dispatched before
them; they bring their own bounded metrics, limits and errors. What is left (BentoML's endpoints,
its OpenAPI page and schema) passes a guard that closes what BentoML leaves open: bodies without a
limit, files fetched from a URL that the client names, malformed bodies answered as our failure.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from starlette.datastructures import UploadFile
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
        endpoints: paths of BentoML's endpoints, which are guarded.
        settings: limits.

    """

    def __init__(
        self, routes: Sequence[Route], behind: ASGIApp, endpoints: Sequence[str], settings: Settings
    ) -> None:
        router = Router(routes, redirect_slashes=False, default=_not_found)
        refusing = ExceptionMiddleware(router, handlers={HTTPException: _refused})
        self._ours = ServerErrorMiddleware(refusing, handler=_failed)
        self._behind = behind
        self._endpoints = frozenset(endpoints)
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
        if media == "multipart/form-data":
            form = await parse_form(
                body,
                request.headers,
                max_bytes=self._settings.max_body_bytes,
                max_files=self._settings.max_images,
            )
            for name, value in form.multi_items():
                if name == "images" and not isinstance(value, UploadFile):
                    raise InvalidInputError(
                        "images must be files: nothing is fetched from an address", field=name
                    )
        elif media in ("", "application/json"):
            try:
                content = msgspec.json.decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise InvalidInputError(f"the body is not valid JSON: {error}") from error
            if not isinstance(content, dict):
                raise InvalidInputError("the body must be a JSON object", field="body")
            if "images" in content:
                raise UnsupportedMediaError(
                    "send images as files in multipart/form-data", field="images"
                )
        else:
            raise UnsupportedMediaError(
                f"this endpoint reads application/json or multipart/form-data, not {media}",
                field="content-type",
            )


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
