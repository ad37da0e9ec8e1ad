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

from service.errors import OverloadedError, TriptychError

log = logging.getLogger("triptych.http")
_encoder = msgspec.json.Encoder()


def json_answer(
    content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Encode `content` (plain types or msgspec structs) as JSON."""
    return Response(
        _encoder.encode(content), status, headers=headers, media_type="application/json"
    )


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
