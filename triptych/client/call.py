"""A request as data: what to send, and how its answer is read. Nothing here touches the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypedDict, TypeVar

import msgspec

from triptych.client.errors import InvalidInputError, UnexpectedAnswerError

T = TypeVar("T")


class CallOptions(TypedDict, total=False):
    """What every method takes besides its own arguments.

    `timeout_s` is the time for all attempts together, in place of the client's. `priority` is 1
    (urgent), 2 (usual) or 3 (when there is room). `request_id` is sent as `x-request-id` with every
    attempt, in place of a random one.
    """

    timeout_s: float
    priority: int
    request_id: str


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer; of a stream, its first bytes, and `opened`, what the client reads on from."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    opened: Any = None


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request and how its answer is read.

    Args:
        method: of HTTP.
        path: after the server's address.
        read: makes the result of an answer; may raise `msgspec.MsgspecError`.
        options: the caller's.
        query, headers, body: of the request.
        files: parts of a form, in place of a body.
        accepts: statuses beyond 2xx that are answers too.

    """

    method: str
    path: str
    read: Callable[[Reply], T]
    options: CallOptions
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    files: Sequence[bytes] = ()
    accepts: frozenset[int] = frozenset()

    def result(self, reply: Reply) -> T:
        """Read the answer; raises UnexpectedAnswerError if it is not what it should be."""
        try:
            return self.read(reply)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UnexpectedAnswerError(
                f"{self.path} answered what is not of a Triptych service: {error}",
                status=reply.status,
            ) from error


def read_json(reply: Reply, into: type[T]) -> T:
    """An answer of JSON."""
    return msgspec.json.decode(reply.body, type=into)


def post_json(
    path: str,
    fields: Mapping[str, Any],
    read: Callable[[Reply], T],
    options: CallOptions,
    **headers: str,
) -> Call[T]:
    """A JSON body; what is None is left out, so that the server's default holds."""
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        body = msgspec.json.encode(given)
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"half a character cannot be sent: {error}", param="body"
        ) from error
    return Call(
        "POST",
        path,
        read,
        options,
        headers={"content-type": "application/json", **headers},
        body=body,
    )
