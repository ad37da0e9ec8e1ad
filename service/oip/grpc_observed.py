"""Ids and trails of gRPC calls: what `service.http.observed` does for HTTP.

An interceptor, first in the server's list, so that calls which another one refuses are seen too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from service.keys import GRANT
from service.oip.grpc_messages import Unread
from service.telemetry.identity import REQUEST_ID
from service.telemetry.observer import Observer
from service.telemetry.trail import Trail, following

Handler = Any
"""grpc.RpcMethodHandler; grpc comes without types."""


class Observing(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Gives each call an id, which goes back in the initial metadata, and a trail."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Handler | None]], details: Any
    ) -> Handler | None:
        """Wrap what answers the call."""
        handler = await continuation(details)
        if handler is None:
            return None
        call = details.method.rpartition("/")[2]
        headers = [
            (name.encode(), value.encode() if isinstance(value, str) else value)
            for name, value in details.invocation_metadata
        ]
        trail = self._observer.begin("grpc", call, details.method, headers)
        return handler if trail is None else _wrapped(handler, trail)


def _wrapped(handler: Handler, trail: Trail) -> Handler:
    async def answer(request: Any, context: Any) -> Any:
        with following(trail):
            await _send_id(context, trail)
            if not isinstance(request, Unread):
                trail.bytes_in = request.ByteSize()
            try:
                response = await handler.unary_unary(request, context)
            finally:
                _settle(trail, context)
            trail.bytes_out = response.ByteSize()
            return response

    async def answer_many(requests: Any, context: Any) -> AsyncIterator[Any]:
        with following(trail):
            await _send_id(context, trail)
            try:
                async for response in handler.stream_stream(requests, context):
                    trail.bytes_out += response.ByteSize()
                    yield response
            finally:
                _settle(trail, context)

    if handler.stream_stream is not None:
        return grpc.stream_stream_rpc_method_handler(
            answer_many, handler.request_deserializer, handler.response_serializer
        )
    return grpc.unary_unary_rpc_method_handler(
        answer, handler.request_deserializer, handler.response_serializer
    )


async def _send_id(context: Any, trail: Trail) -> None:
    grant = GRANT.get()
    if grant is not None:
        trail.client = grant.key.id
    await context.send_initial_metadata(((REQUEST_ID.decode(), trail.request_id),))


def _settle(trail: Trail, context: Any) -> None:
    code = context.code()
    trail.status = code.value[0] if isinstance(code, grpc.StatusCode) else int(code or 0)
    trail.outcome = trail.outcome or ("ok" if trail.status == 0 else "invalid")
