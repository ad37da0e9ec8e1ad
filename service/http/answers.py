"""Answers: JSON, pictures, and the one place that turns an error into a body.

The body of an error is OpenAI's: `{"error": {"message", "type", "param", "code"}}`, where `param`
names the field at fault.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.errors import OverloadedError, TriptychError

log = logging.getLogger("triptych.http")
_encoder = msgspec.json.Encoder()


class Bytes(Response):
    """A whole answer, sent as it is: no encoding, no background task, no cookies."""

    def __init__(
        self,
        body: bytes | memoryview,
        status: int = 200,
        *,
        media_type: bytes,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = [
            (b"content-length", b"%d" % len(body)),
            (b"content-type", media_type),
        ]
        if headers:
            self.raw_headers += [(k.encode(), v.encode("latin-1")) for k, v in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})


def json_answer(
    content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Encode `content` (plain types or msgspec structs) as JSON."""
    return Bytes(_encoder.encode(content), status, media_type=b"application/json", headers=headers)


def error_body(error: TriptychError) -> dict[str, Any]:
    """The body that names what is wrong; of our own failures it says no more than that."""
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    if isinstance(error, OverloadedError):
        kind = "rate_limit_error"
    return {
        "error": {
            "message": error.message,
            "type": kind,
            "param": error.field,
            "code": error.code,
        }
    }


def error_answer(error: Exception) -> Response:
    """Turn any error into an answer; one that nobody planned is logged and answered as 500."""
    if not isinstance(error, TriptychError):
        log.error("unexpected error", exc_info=error)
        error = TriptychError("the service failed; the request was not at fault")
    headers = {}
    if isinstance(error, OverloadedError):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    return json_answer(error_body(error), status=error.status, headers=headers)
