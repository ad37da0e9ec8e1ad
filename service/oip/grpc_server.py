"""The gRPC server of a worker, on the event loop that HTTP has.

Workers share the port (SO_REUSEPORT); the kernel spreads connections over them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message_factory import GetMessageClass

from service.errors import SettingsError
from service.http.connection import MAX_GRPC_CALLS
from service.oip import grpc_service_pb2 as pb2
from service.oip.grpc_access import Access
from service.oip.grpc_calls import Calls, refusing_unread
from service.oip.grpc_messages import read_as
from service.oip.grpc_observed import Observing

if TYPE_CHECKING:
    from service.runtime import Runtime
    from service.settings import Settings

_SERVICE = pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]

_QUIET_S = 0.02
_SETTLE_S = 1.0
"""gRPC's core hands calls over one at a time, and when it stops it cancels those that it has read
and not yet handed over (grpc/grpc#41785). So the end begins once no call has come for `_QUIET_S`;
or after `_SETTLE_S`, if they never pause."""


class GrpcServer:
    """Serves a worker's models from `start` to `stop`."""

    def __init__(self, runtime: Runtime) -> None:
        self._settings = settings = runtime.settings
        self._arrivals = Arrivals()
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", settings.max_body_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 1),
                ("grpc.max_metadata_size", settings.max_head_bytes),
                ("grpc.absolute_max_metadata_size", settings.max_head_bytes),
                ("grpc.max_concurrent_streams", MAX_GRPC_CALLS),
            ],
            interceptors=[self._arrivals, *_interceptors(runtime)],
        )
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(_SERVICE.full_name, _handlers(Calls(runtime)))]
        )

    async def start(self) -> None:
        """Listen; raises SettingsError if the port cannot be had."""
        address = f"{self._settings.grpc_host}:{self._settings.grpc_port}"
        try:
            if self._settings.tls_cert:
                self._server.add_secure_port(address, _credentials(self._settings))
            else:
                self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise SettingsError(f"gRPC cannot listen on {address}: {error}") from error
        await self._server.start()

    async def stop(self, timeout_s: float) -> None:
        """Take no more calls; end when those in flight have, or are aborted, after `timeout_s`.

        Calls that come within a second are taken still, as long as one follows upon another.
        """
        loop = asyncio.get_running_loop()
        end_s = loop.time() + timeout_s
        settled_s = min(loop.time() + _SETTLE_S, end_s)
        seen = -1
        while seen != self._arrivals.count and loop.time() < settled_s:
            seen = self._arrivals.count
            await asyncio.sleep(_QUIET_S)
        await self._server.stop(max(0.0, end_s - loop.time()))


class Arrivals(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc comes without types
    """Counts the calls that the core has handed over."""

    count = 0

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: Any
    ) -> Any:
        """Count the call, and leave it alone."""
        self.count += 1
        return await continuation(details)


def _credentials(settings: Settings) -> Any:
    chain = Path(settings.tls_cert)
    key = Path(settings.tls_key) if settings.tls_key else chain  # a PEM file may hold both
    return grpc.ssl_server_credentials([(key.read_bytes(), chain.read_bytes())])


def _interceptors(runtime: Runtime) -> list[grpc.aio.ServerInterceptor]:
    """The one that sees all calls first, then the one that refuses some."""
    found: list[grpc.aio.ServerInterceptor] = []
    if runtime.observer is not None:
        found.append(Observing(runtime.observer))
    if runtime.keys is not None:
        found.append(Access(runtime.keys))
    return found


def _handlers(calls: Calls) -> dict[str, grpc.RpcMethodHandler]:
    """A handler for each call of the .proto."""
    handlers = {}
    for method in _SERVICE.methods:
        call = getattr(calls, method.name)
        streamed = method.client_streaming
        make = (
            grpc.stream_stream_rpc_method_handler
            if streamed
            else grpc.unary_unary_rpc_method_handler
        )
        handlers[method.name] = make(
            call if streamed else refusing_unread(call),
            request_deserializer=read_as(GetMessageClass(method.input_type)),
            response_serializer=GetMessageClass(method.output_type).SerializeToString,
        )
    return handlers
