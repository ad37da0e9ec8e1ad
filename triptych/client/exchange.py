"""A call as steps: send, wait, send again, until there is an answer or no time left.

The steps are a generator that asks for what touches the world, and is told what came of it. The
clients do what it asks for, one by blocking, one by awaiting; what to do is decided here alone.
"""

from __future__ import annotations

import itertools
import math
import os
import time
import uuid
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

from triptych.client.backoff import Backoff, retry_after_s
from triptych.client.call import Call, Reply
from triptych.client.errors import (
    DeadlineExceededError,
    InvalidInputError,
    TriptychClientError,
    of_answer,
)

T = TypeVar("T")
DEFAULT_URL = "http://127.0.0.1:3000"
URL_VARIABLE = "TRIPTYCH_URL"
KEY_VARIABLE = "TRIPTYCH_API_KEY"


@dataclass(frozen=True, slots=True)
class Send:
    """Send a call, and give its `Reply`, or throw the error that there was none.

    Args:
        call: what to send.
        headers: besides the call's own.
        timeout_s: by when there must be an answer; of a stream, its first bytes.
        streams: whether the answer is left open after its first bytes.

    """

    call: Call[Any]
    headers: dict[str, str]
    timeout_s: float
    streams: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """Do nothing for a while."""

    wait_s: float


Steps: TypeAlias = Generator[Send | Pause, Any, T]


@dataclass(frozen=True)
class Options:
    """What a client is set to; arguments as `Client`."""

    base_url: str
    api_key: str = field(repr=False)
    timeout_s: float
    max_retries: int
    backoff: Backoff
    max_connections: int

    @classmethod
    def of(
        cls,
        base_url: str | None,
        api_key: str | None,
        timeout_s: float,
        max_retries: int,
        backoff: Backoff | None,
        max_connections: int,
    ) -> Options:
        """Check what was given, and take from the environment what was not.

        Raises InvalidInputError that names what is wrong.
        """
        url = base_url if base_url is not None else os.environ.get(URL_VARIABLE) or DEFAULT_URL
        key = api_key if api_key is not None else os.environ.get(KEY_VARIABLE, "")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInputError(
                f"base_url must be http://HOST:PORT or https://..., not {url!r}", param="base_url"
            )
        _check_header("api_key", key)
        if max_retries < 0:
            raise InvalidInputError(
                f"max_retries is {max_retries}; it must be 0 or more", param="max_retries"
            )
        if max_connections < 1:
            raise InvalidInputError(
                f"max_connections is {max_connections}; it must be 1 or more",
                param="max_connections",
            )
        _check_timeout(timeout_s)
        return cls(url, key, timeout_s, max_retries, backoff or Backoff(), max_connections)


def _check_timeout(timeout_s: float) -> None:
    if not 0 < timeout_s < math.inf:
        raise InvalidInputError(
            f"timeout_s is {timeout_s}; it must be above 0 and finite", param="timeout_s"
        )


def _check_header(name: str, value: str) -> None:
    if not (value.isascii() and value.isprintable()):
        raise InvalidInputError(
            f"{name} has characters that a header cannot have: ASCII alone is sent", param=name
        )


def answered(
    call: Call[T], options: Options, *, now: Callable[[], float] = time.monotonic
) -> Steps[T]:
    """Send until there is an answer, and read it; raises as `attempts`."""
    reply = yield from attempts(call, options, now=now)
    return call.result(reply)


def attempts(
    call: Call[Any],
    options: Options,
    *,
    streams: bool = False,
    now: Callable[[], float] = time.monotonic,
) -> Steps[Reply]:
    """Send until there is an answer. Requests may be repeated: they change nothing on the server.

    All attempts have one `x-request-id` and one deadline, and are told how much of it is left
    (`x-request-timeout-ms`). A stream is told only if the caller gave it a time of its own.

    Raises TriptychClientError, the last attempt's: if coming back is of no use, if there were
    `max_retries` retries, or if the wait would end after the deadline.
    """
    timeout_s = call.options.get("timeout_s", options.timeout_s)
    _check_timeout(timeout_s)
    end_s = now() + timeout_s
    headers = {"x-request-id": call.options.get("request_id") or uuid.uuid4().hex}
    _check_header("request_id", headers["x-request-id"])
    if options.api_key:
        headers["authorization"] = f"Bearer {options.api_key}"
    if "priority" in call.options:
        headers["x-request-priority"] = str(call.options["priority"])
    told = not streams or "timeout_s" in call.options
    for attempt in itertools.count():
        left_s = end_s - now()
        if left_s <= 0:  # a pause that took longer than it should
            raise DeadlineExceededError(
                f"no answer within {timeout_s:g} s", request_id=headers["x-request-id"]
            )
        if told:
            headers["x-request-timeout-ms"] = str(max(1, int(left_s * 1000)))
        try:
            reply: Reply = yield Send(call, dict(headers), left_s, streams)
        except TriptychClientError as error:
            failure = error
        else:
            if 200 <= reply.status < 300 or reply.status in call.accepts:
                return reply
            failure = of_answer(
                reply.status,
                reply.headers,
                reply.body,
                retry_after_s=retry_after_s(reply.headers),
            )
        failure.request_id = failure.request_id or headers["x-request-id"]
        if not _comes_back(failure) or attempt >= options.max_retries:
            raise failure
        wait_s = failure.retry_after_s
        if wait_s is None:
            wait_s = options.backoff.wait_s(attempt)
        if now() + wait_s >= end_s:
            raise failure
        yield Pause(wait_s)
    raise AssertionError("unreachable")


def _comes_back(failure: TriptychClientError) -> bool:
    """Whether another attempt may do better. A 504 is the server's or a proxy's own limit, which
    may be shorter than the deadline; that this client's deadline has passed is final.
    """
    return failure.retryable or failure.status == 504
