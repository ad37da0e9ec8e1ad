"""The client's error tree, which mirrors the service's: what went wrong, and whose turn it is.

Below `TriptychClientError` are `RefusedError` (the request must change, or wait), `FailedError`
(the server or the way to it failed) and their kinds. `code` and `param` are the server's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec


class TriptychClientError(Exception):
    """Root of what this client raises on purpose.

    Attributes:
        message: what is wrong, for people.
        status: the HTTP status of the answer; None if there was none.
        param: the field at fault, as the server names it.
        code: the server's stable, machine-readable name of the error.
        request_id: the `x-request-id` that all attempts of the request had.
        retry_after_s: when the server wants to be asked again; None if it did not say.

    """

    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        param: str | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.param = param
        self.code = code
        self.request_id = request_id
        self.retry_after_s = retry_after_s


# --- the request is not answered as it is ---------------------------------------------------


class RefusedError(TriptychClientError):
    """The server refused the request (4xx); nothing was computed."""


class InvalidInputError(RefusedError):
    """A value is missing, malformed or out of its range; `param` names it."""


class TooLargeError(InvalidInputError):
    """A body, an image or a number exceeds a limit of the server."""


class UnauthorisedError(RefusedError):
    """The API key is missing, wrong or not allowed to do this."""


class NotFoundError(RefusedError):
    """No model or route has this name."""


class OverloadedError(RefusedError):
    """The queue is full, or the key has had its share; it may be sent again later."""

    retryable = True


# --- the request was not at fault -----------------------------------------------------------


class FailedError(TriptychClientError):
    """The server, or the way to it, failed."""


class UnavailableError(FailedError):
    """The model is not loaded, or the server is starting, stopping or away behind its proxy."""

    retryable = True


class DeadlineExceededError(FailedError):
    """There was no answer in time; by the server's clock (504) or by this one's."""


class ConnectionFailedError(FailedError):
    """The server cannot be reached, or the connection broke before there was an answer."""

    retryable = True


class StreamBrokenError(FailedError):
    """A stream ended before its end. It is not sent again: its text had begun."""


class UnexpectedAnswerError(FailedError):
    """The answer is not one of a Triptych service."""


class _Fault(msgspec.Struct):
    message: str = ""
    param: str | None = None
    code: str | None = None


class _Body(msgspec.Struct):
    error: _Fault | str


_decoder = msgspec.json.Decoder(_Body)
_BY_STATUS: dict[int, type[TriptychClientError]] = {
    401: UnauthorisedError,
    403: UnauthorisedError,
    404: NotFoundError,
    413: TooLargeError,
    429: OverloadedError,
    502: UnavailableError,
    503: UnavailableError,
    504: DeadlineExceededError,
}
_STATUS_OF = {
    "overloaded": 429,
    "not_ready": 503,
    "deadline_exceeded": 504,
    "too_large": 413,
    "not_found": 404,
}
"""For an error that comes in a stream, whose own status has long been sent."""


def of_answer(
    status: int, headers: Mapping[str, str], body: bytes, *, retry_after_s: float | None = None
) -> TriptychClientError:
    """The error that an answer is: OpenAI's body, the Open Inference Protocol's, or a proxy's."""
    try:
        fault = _decoder.decode(body).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        fault = _Fault()
    if isinstance(fault, str):
        fault = _Fault(fault)
    if status < 400:
        kind: type[TriptychClientError] = UnexpectedAnswerError
    else:
        kind = _BY_STATUS.get(status, InvalidInputError if status < 500 else FailedError)
    return kind(
        fault.message or f"the server answered with status {status} and no reason",
        status=status,
        param=fault.param,
        code=fault.code,
        request_id=headers.get("x-request-id"),
        retry_after_s=retry_after_s,
    )


def of_event(data: bytes) -> TriptychClientError:
    """The error that an event of a stream is."""
    fault = _decoder.decode(data).error
    code = None if isinstance(fault, str) else fault.code
    return of_answer(_STATUS_OF.get(code or "", 500), {}, data)
