"""What a trial asks of a request: whose it is, so that a canary's share is always the same, and
whether the trial has a say in it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from contextvars import ContextVar

KEY_HEADERS = (b"x-request-key", b"x-request-id")
"""The first that a request has is its key; one without either falls anywhere."""

HEADERS: ContextVar[Iterable[tuple[bytes, bytes]]] = ContextVar("headers", default=())
"""Of the request being answered: looked at only while a version is on trial."""

APART: ContextVar[bool] = ContextVar("apart", default=False)
"""Whether that request named its version: no lot is drawn for it, and no trial counts it."""


def request_key() -> bytes:
    """The key of the request that the running task answers."""
    found = dict(HEADERS.get())
    for header in KEY_HEADERS:
        if header in found:
            return found[header]
    return secrets.token_bytes(8)
