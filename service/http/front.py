"""The ASGI application in front: our routes first, BentoML's after.

BentoML wraps every route, mounted ones too, in metrics, tracing, access-log and timeout layers
that together cost more than a small model's inference. Our routes are therefore dispatched before
them; they bring their own bounded metrics, limits and errors. What is left (BentoML's endpoints,
its pages and schema) passes the guard, and where BentoML has nothing, the answer is worded as ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import MethodNotAllowedError, UnknownNameError
from service.http.answers import error_answer
from service.http.guard import Guard
from service.http.paths import Paths
from service.request_key import HEADERS
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
        routes: Sequence[Route | WebSocketRoute],
        behind: ASGIApp,
        endpoints: Mapping[str, type[BaseModel]],
        settings: Settings,
    ) -> None:
        self._sockets = {one.path: one for one in routes if isinstance(one, WebSocketRoute)}
        ours = [one for one in routes if isinstance(one, Route)]
        router = Router(ours, redirect_slashes=False, default=_not_found)
        refusing = ExceptionMiddleware(router, handlers={HTTPException: _refused})
        self._ours = ServerErrorMiddleware(refusing, handler=_failed)
        self._behind = behind
        self._guard = Guard(behind, endpoints, settings)
        self._exact = {route.path for route in ours if "{" not in route.path}
        # Most requests need no router: the endpoint frames its own errors.
        self._paths = Paths(ours)
        self._patterns = [route for route in ours if "{" in route.path]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        HEADERS.set(scope["headers"])
        scope["app"] = self  # so that Starlette raises errors instead of answering them itself
        path = scope["path"]
        found = self._paths.find(scope["method"], path)
        if found is not None:
            endpoint, scope["path_params"] = found
            response = await endpoint(Request(scope, receive, send))
            await response(scope, receive, send)
        elif path in self._exact or path.startswith("/v1/") or self._matches(scope):
            await self._ours(scope, receive, send)
        elif self._guard.guards(scope):
            await self._guard(scope, receive, send)
        else:
            await self._behind(scope, receive, _Reworded(scope, receive, send))

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket, or the server's start and end."""
        if scope["type"] == "websocket":
            HEADERS.set(scope["headers"])
        if scope["type"] == "websocket" and scope["path"] in self._sockets:
            await self._sockets[scope["path"]].app(scope, receive, send)
        else:
            await self._behind(scope, receive, send)

    def _matches(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is not Match.NONE for route in self._patterns)


class _Reworded:
    """`send`, with BentoML's plain words for what it does not have replaced by our error's body."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._asgi = scope, receive, send
        self._replaced = False

    async def __call__(self, message: Message) -> None:
        scope, receive, send = self._asgi
        if message["type"] == "http.response.start" and message["status"] in (404, 405):
            headers = dict(message.get("headers", ()))
            if headers.get(b"content-type", b"").startswith(b"text/plain"):
                self._replaced = True
                if message["status"] == 404:
                    await _not_found(scope, receive, send)
                else:
                    await _wrong_method(scope, headers.get(b"allow", b""))(scope, receive, send)
                return
        if not self._replaced:
            await send(message)


def _wrong_method(scope: Scope, allow: bytes) -> Response:
    allowed = allow.decode("latin-1")
    refused = MethodNotAllowedError(
        f"{scope['path']} does not take {scope['method']}; it takes {allowed}"
    )
    answer = error_answer(refused)
    answer.headers["allow"] = allowed
    return answer


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    error = UnknownNameError(f"there is no route {scope['path']}")
    await error_answer(error)(scope, receive, send)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _wrong_method(request.scope, (error.headers or {}).get("Allow", "").encode())


async def _failed(_: Request, error: Exception) -> Response:
    return error_answer(error)
