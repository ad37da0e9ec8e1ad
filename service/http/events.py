"""A stream of server-sent events as an answer, and the limits on waiting for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack, suppress
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.drain import DRAIN
from service.errors import DeadlineExceededError, TriptychError
from service.http.answers import error_body
from service.http.completions import event
from service.http.exchange import abandoned_on_disconnect
from service.metrics import Outcome, RequestMeter, outcome_of

log = logging.getLogger("triptych.http")
T = TypeVar("T")
_encoder = msgspec.json.Encoder()


async def within(deadline_s: float, work: Awaitable[T]) -> T:
    """Await; raises DeadlineExceededError after `deadline_s`, 0 for none."""
    try:
        async with asyncio.timeout(deadline_s or None):
            return await work
    except TimeoutError:
        raise DeadlineExceededError(f"no answer within {deadline_s:g} s") from None


async def stream_events(
    events: AsyncIterator[bytes],
    meter: RequestMeter,
    stack: ExitStack,
    headers: Callable[[], Mapping[str, str]],
    *,
    deadline_s: float,
    limit_s: float,
    error_body: Callable[[TriptychError], dict[str, Any]] = error_body,
) -> EventStream:
    """Answer with events once the first is there: what fails before it is a proper error.

    Args:
        events: all of them, the first one included.
        meter: of the request; closed by the stream.
        stack: what the events need; closed by the stream.
        headers: made once the first event is there.
        deadline_s: by when the first event must be there; 0 for none.
        limit_s: by when the last one must be there; 0 for none.
        error_body: as `EventStream`.

    Raises:
        DeadlineExceededError: no event within `deadline_s`.

    """
    first = await within(deadline_s, anext(events))
    meter.deferred = True
    meter.began_to_stream()
    return EventStream(
        first,
        events,
        meter,
        stack.pop_all(),
        headers(),
        limit_s=limit_s,
        error_body=error_body,
    )


class EventStream(Response):
    """Events as they come; counts the request, and lets go of the model, when it ends.

    Also when the client left before the first event could be sent: a generator's own clean-up
    would not run then.

    Args:
        first: the first event, made before the answer began.
        events: the others.
        meter: of the request.
        stack: closed at the end.
        headers: of the answer.
        limit_s: seconds after which the stream ends with an error event; 0 for none.
        error_body: words an error that comes when the status is long sent.

    """

    def __init__(
        self,
        first: bytes,
        events: AsyncIterator[bytes],
        meter: RequestMeter,
        stack: ExitStack,
        headers: Mapping[str, str],
        *,
        limit_s: float = 0.0,
        error_body: Callable[[TriptychError], dict[str, Any]] = error_body,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.raw_headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-store"),
            *((name.encode(), value.encode("latin-1")) for name, value in headers.items()),
        ]
        self._first = first
        self._events = events
        self._meter = meter
        self._stack = stack
        self._limit_s = limit_s
        self._error_body = error_body
        self._outcome: Outcome = "cancelled"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        try:
            with self._stack, suppress(ClientDisconnect):
                async with abandoned_on_disconnect(Request(scope, receive)):
                    await self._send(send)
        finally:
            self._meter.close(self._outcome)

    async def _send(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        try:
            async with asyncio.timeout(self._limit_s or None):
                await send(_part(self._first))
                async for one in self._events:
                    await send(_part(one))
            self._outcome = "ok"
        except TimeoutError:
            await self._fail(DeadlineExceededError(f"no end within {self._limit_s:g} s"), send)
        except TriptychError as error:
            await self._fail(error, send)
        except asyncio.CancelledError:
            refusal = DRAIN.refusal()
            if refusal is None:
                raise
            await self._fail(refusal, send)
        except Exception as error:
            log.error("a stream failed", exc_info=error)
            await self._fail(TriptychError("the service failed"), send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _fail(self, error: TriptychError, send: Send) -> None:
        self._outcome = outcome_of(error)
        await send(_part(event(_encoder.encode(self._error_body(error)))))


def _part(body: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": True}
