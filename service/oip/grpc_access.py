"""The interceptor that asks gRPC calls for a key, in their metadata, as HTTP asks for a header."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from service.errors import TriptychError
from service.keys import GRANT, Keys
from service.oip.grpc_calls import abort

_OPEN = frozenset({"ServerLive", "ServerReady"})
_ADMIN = frozenset({"RepositoryModelLoad", "RepositoryModelUnload"})


class Access(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Lets a call through, or ends it with UNAUTHENTICATED, PERMISSION_DENIED or
    RESOURCE_EXHAUSTED.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: Any
    ) -> Any:
        """Look at a call before it begins."""
        handler = await continuation(details)
        method = details.method.rpartition("/")[2]
        if method in _OPEN or handler is None:
            return handler
        try:
            grant = self._keys.admit(_sent_key(details), admin=method in _ADMIN)
        except TriptychError as error:
            return _refusal(error, handler)
        GRANT.set(grant)  # this call's own context: the server runs each in a task
        return handler


def _sent_key(details: Any) -> str | None:
    sent = dict(details.invocation_metadata)
    scheme, _, token = str(sent.get("authorization", "")).partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    return sent.get("x-api-key")


def _refusal(error: TriptychError, handler: Any) -> Any:
    """A handler of the same shape that only ends the call."""

    async def refuse(_: Any, context: Any) -> None:
        await abort(context, error)

    async def refuse_stream(_: Any, context: Any) -> AsyncIterator[Any]:
        await abort(context, error)
        yield

    if handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(
            refuse_stream, handler.request_deserializer, handler.response_serializer
        )
    return grpc.unary_unary_rpc_method_handler(
        refuse, handler.request_deserializer, handler.response_serializer
    )
