"""A request's id and its place in a trace, as its headers give them.

`x-request-id` is the client's word, or a proxy's: taken if it is short and visible ASCII, for it
is written into logs and sent back. `traceparent` is that of W3C Trace Context, level 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from service.chance import fresh_id

REQUEST_ID = b"x-request-id"
MAX_ID_CHARS = 128

_ID = re.compile(rb"[\x21-\x7e]{1,%d}" % MAX_ID_CHARS)
_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")

Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class TraceParent:
    """Where a caller is in its trace."""

    trace_id: int
    span_id: int
    sampled: bool


def sent_id(headers: Headers) -> bytes | None:
    """The `x-request-id` of a request, one of ours in place of one that will not do; or None."""
    for name, value in headers:
        if name == REQUEST_ID:
            return value if _ID.fullmatch(value) else fresh_id().encode()
    return None


def parse_traceparent(value: bytes) -> TraceParent | None:
    """The caller's place in its trace; None for what the standard tells to ignore."""
    found = _TRACEPARENT.fullmatch(value)
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    # Version 255 is none, and version 0 has no more fields than these.
    if version == b"ff" or (version == b"00" and more) or not int(trace, 16) or not int(span, 16):
        return None
    return TraceParent(int(trace, 16), int(span, 16), bool(int(flags, 16) & 1))


def identify(headers: Headers) -> tuple[str, TraceParent | None]:
    """A request's id (sent, or its trace's, or a new one) and its caller's place in a trace."""
    given, parent = None, None
    for name, value in headers:
        if name == REQUEST_ID and given is None:
            given = value
        elif name == b"traceparent":
            parent = parse_traceparent(value)
    if given is not None and _ID.fullmatch(given):
        return given.decode(), parent
    if given is None and parent is not None:
        return f"{parent.trace_id:032x}", parent
    return fresh_id(), parent
