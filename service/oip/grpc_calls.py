"""The calls of the protocol over gRPC, each by the name that the .proto gives it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.json_format import ParseDict

from service.errors import NotAllowedError, TriptychError
from service.keys import charge_again
from service.kinds.base import Kind
from service.metrics import RequestMeter
from service.oip import grpc_service_pb2 as pb2
from service.oip.answers import grpc_status, planned, retry_after_s
from service.oip.descriptions import model_config, model_metadata, server_metadata
from service.oip.grpc_messages import Unread, parse, plain, render
from service.oip.inference import infer
from service.oip.repository import Control, control_of, index
from service.oip.requests import check_parameters
from service.oip.statistics import statistics
from service.telemetry.identity import sent_id
from service.telemetry.trail import TRAIL, following, next_part

if TYPE_CHECKING:
    from service.lease import Lease
    from service.runtime import Runtime

Call = Callable[[Any, Any], Awaitable[Any]]
_IN_FLIGHT = 64
"""Most requests of one stream that are worked on at once."""


def _framed(route: str) -> Callable[[Callable[..., Awaitable[Any]]], Call]:
    """Count a call, and end it with a status if it raises."""

    def frame(call: Callable[..., Awaitable[Any]]) -> Call:
        @functools.wraps(call)
        async def framed(self: Calls, request: Any, context: Any) -> Any:
            meter = RequestMeter(route)
            if TRAIL.get() is None:  # else it has its id
                await _echo_id(context)
            try:
                response = await call(self, request, context, meter)
            except asyncio.CancelledError:
                meter.close("cancelled")
                raise
            except Exception as error:
                meter.fail(error)
                await abort(context, error)
            else:
                meter.close("ok")
                return response

        return framed  # type: ignore[return-value]  # bound to its instance before it is called

    return frame


async def _echo_id(context: Any) -> None:
    """Send the caller's id back, as over HTTP."""
    for name, value in context.invocation_metadata():
        if name == "x-request-id":
            found = sent_id(((name.encode(), value.encode()),))
            assert found is not None
            await context.send_initial_metadata(((name, found.decode()),))
            return


async def abort(context: Any, error: Exception) -> None:
    """End a call with the status of an error; raises what gRPC ends it by."""
    refused = planned(error)
    again_s = retry_after_s(refused)
    # The second is gRPC's own word to clients that retry by themselves.
    trailing = () if again_s is None else (
        ("retry-after", str(again_s)), ("grpc-retry-pushback-ms", str(1000 * again_s)),
    )  # fmt: skip
    code = grpc.StatusCode[grpc_status(refused)]
    await context.abort(code, refused.message, trailing)


def refusing_unread(call: Call) -> Call:
    """Make `call` answer what is no message of its type as a client's mistake."""

    @functools.wraps(call)
    async def refusing(request: Any, context: Any) -> Any:
        if isinstance(request, Unread):
            RequestMeter("grpc.unread").fail(request.error)
            await abort(context, request.error)
        return await call(request, context)

    return refusing


class Calls:
    """What a worker answers; `runtime` is the one that HTTP has."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._registry = runtime.registry
        self._settings = runtime.settings

    async def ServerLive(self, _: Any, __: Any) -> Any:  # noqa: N802
        """Yes."""
        return pb2.ServerLiveResponse(live=True)

    async def ServerReady(self, _: Any, __: Any) -> Any:  # noqa: N802
        """Whether every model that is expected is served."""
        return pb2.ServerReadyResponse(ready=self._runtime.ready)

    async def ModelReady(self, request: Any, _: Any) -> Any:  # noqa: N802
        """Whether the model is served; one that does not exist is not, as in Triton."""
        try:
            with self._lease(request):
                return pb2.ModelReadyResponse(ready=True)
        except TriptychError:
            return pb2.ModelReadyResponse(ready=False)

    @_framed("grpc.metadata")
    async def ServerMetadata(self, *_: Any) -> Any:  # noqa: N802
        """Name, version, extensions."""
        return ParseDict(server_metadata(), pb2.ServerMetadataResponse())

    @_framed("grpc.metadata")
    async def ModelMetadata(self, request: Any, *_: Any) -> Any:  # noqa: N802
        """A model's tensors."""
        with self._lease(request) as engine:
            return ParseDict(model_metadata(engine.manifest), pb2.ModelMetadataResponse())

    @_framed("grpc.metadata")
    async def ModelConfig(self, request: Any, *_: Any) -> Any:  # noqa: N802
        """A model's configuration."""
        with self._lease(request) as engine:
            config = model_config(engine.manifest, self._settings)
            return ParseDict({"config": config}, pb2.ModelConfigResponse())

    @_framed("grpc.statistics")
    async def ModelStatistics(self, request: Any, *_: Any) -> Any:  # noqa: N802
        """A model's statistics, or, if none is named, every model's."""
        if request.name:
            with self._lease(request) as engine:
                found = await statistics([engine.manifest])
        else:
            found = await statistics(engine.manifest for engine in self._registry.engines())
        return ParseDict(found, pb2.ModelStatisticsResponse())

    @_framed("grpc.repository")
    async def RepositoryIndex(self, request: Any, *_: Any) -> Any:  # noqa: N802
        """Every model with its state."""
        models = index(self._registry, self._runtime.store, ready=request.ready)
        return ParseDict({"models": models}, pb2.RepositoryIndexResponse())

    @_framed("grpc.repository")
    async def RepositoryModelLoad(self, request: Any, *_: Any) -> Any:  # noqa: N802
        """Load a model on every worker."""
        control = self._control()
        check_parameters(plain(request.parameters), (), "the request")
        await control.load(request.model_name)
        return pb2.RepositoryModelLoadResponse()

    @_framed("grpc.repository")
    async def RepositoryModelUnload(self, request: Any, *_: Any) -> Any:  # noqa: N802
        """Unload a model on every worker."""
        control = self._control()
        check_parameters(plain(request.parameters), ("unload_dependents",), "the request")
        await control.unload(request.model_name)
        return pb2.RepositoryModelUnloadResponse()

    @_framed("grpc.infer")
    async def ModelInfer(self, request: Any, context: Any, meter: RequestMeter) -> Any:  # noqa: N802
        """Run a model; the call's own deadline, or its end, takes it out of the queue."""
        limit_s = self._settings.request_timeout_s
        left_s = context.time_remaining()
        if left_s is not None:
            left_s = max(left_s, 0.001)  # 0 would be no limit
            limit_s = min(left_s, limit_s) if limit_s else left_s
        return await self._infer(request, limit_s, meter)

    async def ModelStreamInfer(  # noqa: N802
        self, requests: AsyncIterator[Any], _: Any
    ) -> AsyncIterator[Any]:
        """Run each request of a stream; one response each, in their order."""
        answers: asyncio.Queue[asyncio.Task[Any] | None] = asyncio.Queue(_IN_FLIGHT)
        tasks: set[asyncio.Task[Any]] = set()

        async def read() -> None:
            first = True
            try:
                async for request in requests:
                    task = asyncio.create_task(self._streamed(request, first=first))
                    first = False
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                    await answers.put(task)
            finally:
                await answers.put(None)

        reader = asyncio.create_task(read())
        try:
            while (task := await answers.get()) is not None:
                yield await task
        finally:
            for pending in (reader, *tasks):
                pending.cancel()

    async def _streamed(self, request: Any, *, first: bool) -> Any:
        with following(next_part()):
            return await self._streamed_one(request, first=first)

    async def _streamed_one(self, request: Any, *, first: bool) -> Any:
        meter = RequestMeter("grpc.stream")
        if isinstance(request, Unread):
            meter.fail(request.error)
            return pb2.ModelStreamInferResponse(error_message=planned(request.error).message)
        try:
            if not first:  # that was counted when the call began
                charge_again()
            response = await self._infer(request, self._settings.request_timeout_s, meter)
        except asyncio.CancelledError:
            meter.close("cancelled")
            raise
        except Exception as error:
            meter.fail(error)
            return pb2.ModelStreamInferResponse(
                error_message=planned(error).message,
                infer_response=pb2.ModelInferResponse(id=request.id),
            )
        meter.close("ok")
        return pb2.ModelStreamInferResponse(infer_response=response)

    async def _infer(self, request: Any, limit_s: float, meter: RequestMeter) -> Any:
        with self._registry.lease_any(request.model_name, request.model_version or None) as engine:
            meter.model = engine.manifest.name
            inferred = await infer(engine, parse(request, limit_s), self._settings)
            return render(request.id, inferred)

    def _control(self) -> Control:
        if self._settings.admin_port:
            raise NotAllowedError("loading and unloading is asked for on the admin port here")
        return control_of(self._runtime.control)

    def _lease(self, request: Any) -> Lease[Kind]:
        return self._registry.lease_any(request.name, request.version or None)
