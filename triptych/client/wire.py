"""What both clients do with httpx: make its requests, and turn its errors into ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from triptych.client.call import Reply
from triptych.client.errors import (
    ConnectionFailedError,
    DeadlineExceededError,
    FailedError,
    InvalidInputError,
    StreamBrokenError,
    UnexpectedAnswerError,
)
from triptych.client.exchange import Options, Send

_LONGEST_CONNECT_S = 5.0
"""A host that does not answer at all is tried again, rather than waited for until the deadline."""


def limits(options: Options) -> httpx.Limits:
    """The pool of connections."""
    most = options.max_connections
    return httpx.Limits(max_connections=most, max_keepalive_connections=most)


def request_of(client: httpx.Client | httpx.AsyncClient, send: Send) -> httpx.Request:
    """The request that `send` is."""
    call = send.call
    files = [("images", (f"{row}", content)) for row, content in enumerate(call.files)]
    return client.build_request(
        call.method,
        call.path,
        params=call.query or None,
        # Compression costs more than it saves: pictures and text are short, tensors do not shrink.
        headers={"accept-encoding": "identity", **call.headers, **send.headers},
        content=call.body or None,
        files=files or None,
        timeout=httpx.Timeout(send.timeout_s, connect=min(send.timeout_s, _LONGEST_CONNECT_S)),
    )


def reply_of(response: httpx.Response, body: bytes, opened: object = None) -> Reply:
    """An answer whose body is read; of a stream, its first bytes, and how to read on."""
    return Reply(response.status_code, response.headers, body, opened)


@contextmanager
def translated(timeout_s: float, base_url: str, *, begun: bool = False) -> Iterator[None]:
    """Raise httpx's errors, and asyncio's timeout, as ours.

    Args:
        timeout_s: what was waited for, for the words.
        base_url: of the server, for the words.
        begun: whether these are errors of a stream that has begun.

    Raises:
        DeadlineExceededError, ConnectionFailedError, StreamBrokenError, UnexpectedAnswerError,
        InvalidInputError: see their classes.

    """
    try:
        yield
    except httpx.ConnectTimeout as error:  # of one attempt, not of the call
        raise ConnectionFailedError(f"{base_url} does not take the connection") from error
    except (httpx.TimeoutException, TimeoutError) as error:
        what = "nothing came" if begun else "no answer"
        raise DeadlineExceededError(f"{what} within {timeout_s:.3g} s") from error
    except (httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
        raise InvalidInputError(f"the request cannot be sent: {error}") from error
    except httpx.TransportError as error:
        words = f"{base_url}: {error}" if str(error) else f"{base_url}: {type(error).__name__}"
        raise (StreamBrokenError if begun else ConnectionFailedError)(words) from error
    except httpx.DecodingError as error:
        raise UnexpectedAnswerError(f"the answer cannot be decompressed: {error}") from error


def no_first_bytes(base_url: str) -> FailedError:
    """A stream that ended before it began: it may be tried again."""
    return ConnectionFailedError(f"{base_url}: the connection ended before the stream began")
