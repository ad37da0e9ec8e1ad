"""The outermost layers of the ASGI application: request ids, and requests that leave a trail.

Outside everything else, so that what is refused on the way in has an id and a line in the log too.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import Match, Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.telemetry.identity import REQUEST_ID, sent_id
from service.telemetry.observer import Observer
from service.telemetry.trail import Trail, following

_STARTS = ("http.response.start", "websocket.accept", "websocket.http.response.start")
_OUTCOMES = {503: "not_ready", 504: "deadline", 499: "cancelled"}
_GONE = 499  # nginx's code for a client that closed the connection


class Identified:
    """Sends the client's `x-request-id` back, and does nothing for one that sent none.

    Args:
        app: the application.

    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "lifespan":
            headers = scope["headers"]
            for name, _ in headers:
                if name == REQUEST_ID:
                    given = sent_id(headers)
                    assert given is not None
                    send = _echoing(send, given)
                    break
        await self._app(scope, receive, send)


def _echoing(send: Send, request_id: bytes) -> Send:
    async def echoing(message: Message) -> None:
        if message["type"] in _STARTS:
            message["headers"] = [*message.get("headers", ()), (REQUEST_ID, request_id)]
        await send(message)

    return echoing


class Observed:
    """Gives each request an id and a trail, and ends the trail with the answer.

    Args:
        app: the application.
        observer: who is told.
        routes: whose paths name a request in a trace.
        endpoints: paths of BentoML's endpoints, likewise.

    """

    def __init__(
        self,
        app: ASGIApp,
        observer: Observer,
        routes: Sequence[Route | WebSocketRoute],
        endpoints: Sequence[str] = (),
    ) -> None:
        self._app = app
        self._observer = observer
        self._exact = {route.path for route in routes if "{" not in route.path} | {*endpoints}
        self._patterns = [route for route in routes if "{" in route.path]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        websocket = scope["type"] == "websocket"
        trail = self._observer.begin(
            "websocket" if websocket else "http",
            "GET" if websocket else scope["method"],
            scope["path"],
            scope["headers"],
        )
        if trail is None:
            await self._app(scope, receive, send)
            return
        if trail.trace_id:
            trail.template = self._template(scope)
        with following(trail):
            try:
                await self._app(scope, _reading(receive, trail), _sending(send, trail))
            except Exception:
                trail.status = trail.status or 500
                raise
            finally:
                _settle(trail)

    def _template(self, scope: Scope) -> str:
        """The path of the route that takes this request, if one does."""
        if scope["path"] in self._exact:
            path: str = scope["path"]
            return path
        for route in self._patterns:
            if route.matches(scope)[0] is Match.FULL:
                return route.path
        return ""


def _settle(trail: Trail) -> None:
    """Fill in what nobody else has told."""
    if not trail.status:
        trail.status = _GONE
    if not trail.outcome:
        status = trail.status
        by_class = "ok" if status < 400 else "invalid" if status < 500 else "error"
        trail.outcome = _OUTCOMES.get(status, by_class)


def _size(message: Message) -> int:
    text = message.get("text")
    return len(message.get("bytes") or b"") if text is None else len(text.encode())


def _reading(receive: Receive, trail: Trail) -> Receive:
    async def reading() -> Message:
        message = await receive()
        kind = message["type"]
        if kind == "http.request":
            trail.read(len(message.get("body", b"")), last=not message.get("more_body", False))
        elif kind == "websocket.receive":
            trail.bytes_in += _size(message)
        return message

    return reading


def _sending(send: Send, trail: Trail) -> Send:
    raw_id = trail.request_id.encode()

    async def sending(message: Message) -> None:
        kind: str = message["type"]
        if kind in _STARTS:
            message["headers"] = [*message.get("headers", ()), (REQUEST_ID, raw_id)]
            trail.status = message.get("status", 101)
        elif kind == "websocket.send":
            trail.bytes_out += _size(message)
        elif kind == "websocket.close":
            trail.status = trail.status or 403  # closed before it was accepted
        else:
            trail.bytes_out += len(message.get("body", b""))
        await send(message)

    return sending
