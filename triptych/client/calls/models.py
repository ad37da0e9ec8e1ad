"""What is served."""

from __future__ import annotations

from functools import partial
from typing import Unpack

import msgspec

from triptych.client.answers import Model, Readiness
from triptych.client.call import Call, CallOptions, read_json


class _Models(msgspec.Struct):
    data: list[Model]


def models(**options: Unpack[CallOptions]) -> Call[list[Model]]:
    """The models that are served."""
    return Call("GET", "/v1/models", lambda reply: read_json(reply, _Models).data, options)


def ready(**options: Unpack[CallOptions]) -> Call[Readiness]:
    """Whether the server is ready, and what it serves; that it is not is an answer, not an error.

    Raises ConnectionFailedError if there is no server.
    """
    read = partial(read_json, into=Readiness)
    return Call("GET", "/readyz", read, options, accepts=frozenset({503}))
