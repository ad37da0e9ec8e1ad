"""The frame around a handler: metering, errors, deadlines, and clients that go away."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service.batcher import Answer
from service.errors import InvalidInputError
from service.http.answers import error_answer
from service.http.bodies import whole_number
from service.metrics import RequestMeter, outcome_of
from service.settings import Settings

Handler = Callable[[Request, RequestMeter], Awaitable[Response]]

_CLOSED = 499  # nginx's code for a client that closed the connection; nobody reads it


def framed(
    route: str, handler: Handler, *, answer: Callable[[Exception], Response] = error_answer
) -> Callable[[Request], Awaitable[Response]]:
    """Make a Starlette endpoint of `handler`.

    Errors become answers, as `answer` words them. The request is counted under `route` when its answer is made; a
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
            meter.close("cancelled")
            raise
        except Exception as error:
            meter.close(outcome_of(error))
            return answer(error)
        if not meter.deferred:
            meter.close("ok")
        return response

    return endpoint


@asynccontextmanager
async def abandoned_on_disconnect(request: Request) -> AsyncIterator[None]:
    """Cancel the block when the client closes the connection. The body must have been read."""
    task = asyncio.current_task()
    assert task is not None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watcher = asyncio.ensure_future(watch())
    try:
        yield
    except asyncio.CancelledError:
        if gone:
            task.uncancel()
            raise ClientDisconnect from None
        raise
    finally:
        watcher.cancel()


def timeout_s(request: Request, settings: Settings) -> float:
    """The request's deadline: its `x-request-timeout-ms` header, at most the service's own.

    Raises InvalidInputError if the header is not a positive number.
    """
    header = request.headers.get("x-request-timeout-ms")
    if header is None:
        return settings.request_timeout_s
    asked_ms = whole_number(header)
    if not asked_ms:
        raise InvalidInputError(
            "x-request-timeout-ms must be a positive whole number", field="x-request-timeout-ms"
        )
    asked_s = asked_ms / 1000
    return min(asked_s, settings.request_timeout_s) if settings.request_timeout_s else asked_s


def timing_headers(answer: Answer) -> dict[str, str]:
    """Where the time went, in milliseconds."""
    return {
        "x-queue-time": f"{answer.queue_s * 1000:.3f}",
        "x-inference-time": f"{answer.inference_s * 1000:.3f}",
    }
