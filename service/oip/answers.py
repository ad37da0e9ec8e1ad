"""This protocol's error bodies and status codes: `{"error": "message"}`, or a gRPC status."""

from __future__ import annotations

import logging
import math

from starlette.responses import Response

from service.errors import NotAllowedError, OverloadedError, TriptychError
from service.http.answers import json_answer

log = logging.getLogger("triptych.oip")

GRPC_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "FAILED_PRECONDITION",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    413: "INVALID_ARGUMENT",  # RESOURCE_EXHAUSTED would tell a client to come back with the same
    415: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""Name of the gRPC status code for an HTTP status; any other is INTERNAL."""


def grpc_status(error: TriptychError) -> str:
    """The name of the gRPC status code for an error."""
    if isinstance(error, NotAllowedError):
        return "PERMISSION_DENIED"
    return GRPC_STATUS.get(error.status, "INTERNAL")


def planned(error: Exception) -> TriptychError:
    """The error itself, or, of one that nobody planned, no more than that; that is logged."""
    if isinstance(error, TriptychError):
        return error
    log.error("unexpected error", exc_info=error)
    return TriptychError("the service failed; the request was not at fault")


def retry_after_s(error: TriptychError) -> int | None:
    """Whole seconds after which there may be room; None if coming back is no use."""
    if isinstance(error, OverloadedError):
        return max(1, math.ceil(error.retry_after_s))
    return None


def oip_answer(error: Exception) -> Response:
    """Turn any error into an answer over HTTP."""
    refused = planned(error)
    again_s = retry_after_s(refused)
    return json_answer(
        {"error": refused.message},
        status=refused.status,
        headers=None if again_s is None else {"retry-after": str(again_s)},
    )
