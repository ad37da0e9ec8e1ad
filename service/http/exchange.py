"""The frame around a handler: metering, errors, deadlines, and clients that go away."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response

from service.answer import Answer
from service.drain import DRAIN
from service.errors import InvalidInputError
from service.http.answers import error_answer
from service.http.bodies import header_of, whole_number
from service.metrics import RequestMeter, outcome_of
from service.settings import Settings
from service.waiting import PRIORITIES, USUAL

Handler = Callable[[Request, RequestMeter], Awaitable[Response]]

_CLOSED = 499  # nginx's code for a client that closed the connection; nobody reads it


def framed(
    route: str, handler: Handler, *, answer: Callable[[Exception], Response] = error_answer
) -> Callable[[Request], Awaitable[Response]]:
    """Make a Starlette endpoint of `handler`.

    Errors become answers, as `answer` words them. The request is counted under `route` when
    its answer is made; a
    streaming answer counts itself, and says so by `meter.deferred`.
    """

    @functools.wraps(handler)
    async def endpoint(request: Request) -> Response:
        meter = RequestMeter(route)
        try:
            response = await handler(request, meter)
        except ClientDisconnect:
            meter.close("cancelled")
            return Response(status_code=_CLOSED)
        except asyncio.CancelledError:
            refusal = DRAIN.refusal()
            if refusal is None:
                meter.close("cancelled")
                raise
            meter.fail(refusal)
            return answer(refusal)
        except Exception as error:
            meter.close(outcome_of(error))
            return answer(error)
        if not meter.deferred:
            meter.close("ok")
        return response

    return endpoint


class abandoned_on_disconnect:  # noqa: N801  # reads as what it does: `async with`
    """Cancel the block when the client closes the connection. The body must have been read.

    ASGI tells of a client's leaving through `receive`, which waits until then. A task that waits
    there costs more than the rest of this frame; so the coroutine is started by hand, and the
    future that it waits for calls back.
    """

    __slots__ = ("_gone", "_receiving", "_request", "_task", "_watcher")

    def __init__(self, request: Request) -> None:
        self._request = request
        self._gone = False
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._receiving = self._request.receive()
        try:
            waits_for = self._receiving.send(None)  # type: ignore[attr-defined]
        except StopIteration as stop:
            if stop.value["type"] == "http.disconnect":
                raise ClientDisconnect from None
            self._watcher = asyncio.ensure_future(self._watch())
            return
        if asyncio.isfuture(waits_for):
            waits_for.add_done_callback(self._told)
        else:
            self._receiving.close()  # type: ignore[attr-defined]
            self._watcher = asyncio.ensure_future(self._watch())

    def _told(self, _: asyncio.Future[Any]) -> None:
        try:
            self._receiving.send(None)  # type: ignore[attr-defined]
        except StopIteration as stop:
            if stop.value["type"] == "http.disconnect":
                self._leave()
                return
        except RuntimeError:  # closed in the meantime
            return
        # A message that says nothing, or another wait: rare enough for a task.
        self._receiving.close()  # type: ignore[attr-defined]
        self._watcher = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        self._gone = True
        self._task.cancel()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
        else:
            self._receiving.close()  # type: ignore[attr-defined]
        if self._gone and kind is asyncio.CancelledError:
            self._task.uncancel()
            raise ClientDisconnect from None


@dataclass(slots=True)
class Caller:
    """Whom an endpoint of BentoML works for.

    BentoML runs an endpoint in a task of its own, which goes on when the one that waits for it is
    cancelled. The endpoint finds its caller in the context, and the caller knows its task.
    """

    timeout_s: float
    priority: int = USUAL
    left: bool = False
    task: asyncio.Task[Any] | None = None

    def leave(self) -> None:
        """End the work, also one that has not begun."""
        self.left = True
        if self.task is not None:
            self.task.cancel()


CALLER: ContextVar[Caller] = ContextVar("caller")


def caller(settings: Settings) -> Caller:
    """Whom the running endpoint works for; raises CancelledError if they have left."""
    found = CALLER.get(None) or Caller(settings.request_timeout_s)
    if found.left:
        raise asyncio.CancelledError
    found.task = asyncio.current_task()
    return found


def timeout_s(request: HTTPConnection, settings: Settings) -> float:
    """The request's deadline: its `x-request-timeout-ms` header, at most the service's own.

    Raises InvalidInputError if the header is not a positive number.
    """
    header = header_of(request, b"x-request-timeout-ms")
    if header is None:
        return settings.request_timeout_s
    asked_ms = whole_number(header)
    if not asked_ms:
        raise InvalidInputError(
            "x-request-timeout-ms must be a positive whole number", field="x-request-timeout-ms"
        )
    asked_s = asked_ms / 1000
    return min(asked_s, settings.request_timeout_s) if settings.request_timeout_s else asked_s


def stream_limit_s(request: HTTPConnection, settings: Settings) -> float:
    """How long a stream may last: what `x-request-timeout-ms` says, 0 (for ever) without it."""
    asked = header_of(request, b"x-request-timeout-ms") is not None
    return timeout_s(request, settings) if asked else 0.0


def priority_of(request: HTTPConnection) -> int:
    """How urgent the request is: its `x-request-priority` header, 2 unless it says otherwise.

    Raises InvalidInputError if the header is none of `PRIORITIES`.
    """
    header = header_of(request, b"x-request-priority")
    if header is None:
        return USUAL
    priority = whole_number(header)
    if priority not in PRIORITIES:
        raise InvalidInputError(
            "x-request-priority must be 1 (urgent), 2 (usual) or 3 (when there is room)",
            field="x-request-priority",
        )
    return priority


def timing_headers(answer: Answer) -> dict[str, str]:
    """Where the time went, in milliseconds."""
    return {
        "x-queue-time": f"{answer.queue_s * 1000:.3f}",
        "x-inference-time": f"{answer.inference_s * 1000:.3f}",
    }
