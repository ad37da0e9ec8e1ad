"""A request as a line in the log: what it was and how it went, and nothing of what it held."""

from __future__ import annotations

import logging
from typing import Any

from service.telemetry.trail import Trail

log = logging.getLogger("triptych.request")
_MOST_CHARS = 256  # of a path, which a client may make as long as it likes

FIELDS = {
    "request_id": "the client's `x-request-id`, or its trace's id, or one made here",
    "trace_id": "of the trace, where the request is traced",
    "protocol": "`http`, `websocket` or `grpc`",
    "method": "of HTTP; over gRPC the call's name",
    "path": "without the query; at most 256 characters",
    "route": "as in `triptych_requests_total`; empty where nothing counts it",
    "status": "of HTTP, or gRPC's code; absent for a message over a WebSocket",
    "outcome": "as in `triptych_requests_total`",
    "client": "id of the key that the client showed, where access is controlled",
    "model": "whose answer it is; absent if the request did not get that far",
    "version": "of the model: the served one, or the one on trial",
    "rows": "images, pictures, texts or tensor rows queued",
    "tokens": "characters written",
    "queue_ms": "from decoded to its first run",
    "inference_ms": "in onnxruntime; of text, from joining the others to the last character",
    "total_ms": "from arrival to the last byte's hand-over",
    "bytes_in": "of the body, as far as it was read",
    "bytes_out": "of the answer's body",
}
"""What a line may have, and what it means; a request that was never queued has no times of a queue
or a run, and so on."""


def fields_of(trail: Trail) -> dict[str, Any]:
    """The line's fields, in the order of `FIELDS`."""
    found: dict[str, Any] = {
        "request_id": trail.request_id,
        "trace_id": f"{trail.trace_id:032x}" if trail.trace_id else None,
        "protocol": trail.protocol,
        "method": trail.method,
        "path": trail.path[:_MOST_CHARS].encode("utf-8", "replace").decode(),
        "route": trail.route,
        "status": trail.status if trail.status or trail.protocol == "grpc" else None,
        "outcome": trail.outcome,
        "client": trail.client or None,
        "model": trail.model or None,
        "version": trail.version or None,
    }
    if trail.queued_s:
        found["rows"] = trail.rows
    if trail.tokens:
        found["tokens"] = trail.tokens
    if trail.joined_s:
        found["queue_ms"] = _ms(trail.joined_s - trail.queued_s)
    if trail.ran_s:
        found["inference_ms"] = _ms(trail.inference_s)
    found["total_ms"] = _ms(trail.ended_s - trail.started_s)
    found["bytes_in"], found["bytes_out"] = trail.bytes_in, trail.bytes_out
    return {name: value for name, value in found.items() if value is not None}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def write_line(trail: Trail) -> None:
    """Log a request that has ended: as an error if the service failed it."""
    level = logging.INFO
    if trail.failed:
        level = logging.ERROR
    elif trail.outcome == "overloaded":
        level = logging.WARNING
    log.log(level, "request", extra={"fields": fields_of(trail)})
