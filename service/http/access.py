"""The wrapper that asks for a key. It is there only where keys are (`TRIPTYCH_KEYS_FILE`)."""

from __future__ import annotations

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import TriptychError
from service.http.answers import error_answer, error_body
from service.keys import GRANT, Keys
from service.oip.answers import oip_answer
from service.telemetry.trail import TRAIL

OPEN = frozenset(
    {"/", "/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready", "/openapi.json"}
)
"""Answered without a key: probes, and what a browser needs to show a field for one."""
OPEN_FOLDERS = ("/page/", "/docs", "/assets/", "/static_content/")
"""Files of the pages."""
ADMIN = frozenset({"/metrics"})
CHANGES = "/v2/repository/models/"
"""Loading and unloading."""


def is_admin(path: str) -> bool:
    """Whether a route reveals or changes how the service is run."""
    return path in ADMIN or path.startswith(CHANGES)


def sent_key(headers: list[tuple[bytes, bytes]]) -> str | None:
    """The key of a request's headers: `Authorization: Bearer KEY`, or `x-api-key: KEY`."""
    other = None
    for name, value in headers:
        if name == b"authorization":
            scheme, _, token = value.decode("latin-1").partition(" ")
            if scheme.lower() == "bearer":
                return token.strip()
        elif name == b"x-api-key":
            other = value.decode("latin-1")
    return other


class Access:
    """Asks for a key, counts the request against it, and passes it on or answers why not.

    Which key it was is left in the scope, as `key_id`, for logs.
    """

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        if path in OPEN or path.startswith(OPEN_FOLDERS):
            await self._app(scope, receive, send)
            return
        try:
            grant = self._keys.admit(sent_key(scope["headers"]), admin=is_admin(path))
        except TriptychError as error:
            await _refuse(error, scope, receive, send)
            return
        scope["key_id"] = grant.key.id
        if (trail := TRAIL.get()) is not None:
            trail.client = grant.key.id
        GRANT.set(grant)  # this request's own context: the server runs each in a task
        await self._app(scope, receive, send)


async def _refuse(error: TriptychError, scope: Scope, receive: Receive, send: Send) -> None:
    """In the words of the protocol that the path belongs to."""
    if scope["type"] == "websocket":
        await receive()  # the wish to connect
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008})
            return
        body = msgspec.json.encode(error_body(error))
        answer = Response(body, error.status, media_type="application/json")
        answer.raw_headers += _challenge(error)
        await answer(scope, receive, send)
        return
    ours = oip_answer if scope["path"].startswith("/v2") else error_answer
    answer = ours(error)
    answer.raw_headers += _challenge(error)
    await answer(scope, receive, send)


def _challenge(error: TriptychError) -> list[tuple[bytes, bytes]]:
    return [(b"www-authenticate", b"Bearer")] if error.status == 401 else []
