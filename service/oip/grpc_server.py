"""The gRPC server of a worker, on the event loop that HTTP has.

Workers share the port (SO_REUSEPORT); the kernel spreads connections over them.
"""

from __future__ import annotations

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


class GrpcServer:
    """Serves a worker's models from `start` to `stop`."""

    def __init__(self, runtime: Runtime) -> None:
        self._settings = settings = runtime.settings
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", settings.max_body_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 1),
                ("grpc.max_metadata_size", settings.max_head_bytes),
                ("grpc.absolute_max_metadata_size", settings.max_head_bytes),
                ("grpc.max_concurrent_streams", MAX_GRPC_CALLS),
            ],
            interceptors=_interceptors(runtime),
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
        """Take no more calls; end when those in flight have, or are aborted, after `timeout_s`."""
        await self._server.stop(timeout_s)


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
