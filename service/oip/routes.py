"""The protocol's HTTP routes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from service.errors import (
    MethodNotAllowedError,
    TriptychError,
    UnknownNameError,
)
from service.http.answers import json_answer
from service.http.bodies import decode_json, read_body
from service.http.exchange import (
    Handler,
    abandoned_on_disconnect,
    framed,
    priority_of,
    timeout_s,
    timing_headers,
)
from service.metrics import RequestMeter
from service.oip.answers import oip_answer
from service.oip.bodies import read_inflated, split, tensor_answer
from service.oip.descriptions import EXTENSIONS, model_config, model_metadata, server_metadata
from service.oip.generation import generate
from service.oip.inference import infer
from service.oip.repository import control_of, index
from service.oip.requests import Parameters, check_parameters, parse, render
from service.oip.statistics import statistics
from service.runtime import Runtime


class _Index(msgspec.Struct, forbid_unknown_fields=True):
    ready: bool = False


class _Change(msgspec.Struct, forbid_unknown_fields=True):
    parameters: Parameters | None = None


_index_decoder = msgspec.json.Decoder(_Index)
_change_decoder = msgspec.json.Decoder(_Change)
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def routes(runtime: Runtime) -> Sequence[Route]:
    """Everything under `/v2`."""
    found = [*_server_routes(runtime), *_model_routes(runtime), *_repository_routes(runtime)]
    refuse = _otherwise(found)
    return [
        *found,
        *(
            Route(route.path, refuse, methods=sorted(_METHODS - (route.methods or set())))
            for route in found
            if "{" not in route.path
        ),
        Route("/v2/{rest:path}", refuse, methods=sorted(_METHODS)),
    ]


def _server_routes(runtime: Runtime) -> list[Route]:
    async def server(_: Request, __: RequestMeter) -> Response:
        return json_answer(server_metadata())

    async def live(_: Request) -> Response:
        return Response()

    async def ready(_: Request) -> Response:
        return Response(status_code=200 if runtime.ready else 503)

    async def stats(_: Request, __: RequestMeter) -> Response:
        return json_answer(await statistics(one.manifest for one in runtime.registry.engines()))

    return [
        Route("/v2", framed("oip.server", server, answer=oip_answer)),
        Route("/v2/health/live", live),
        Route("/v2/health/ready", ready),
        Route("/v2/models/stats", framed("oip.statistics", stats, answer=oip_answer)),
    ]


def _repository_routes(runtime: Runtime) -> list[Route]:
    settings, registry = runtime.settings, runtime.registry

    async def show(request: Request, _: RequestMeter) -> Response:
        body = await read_body(request, max_bytes=settings.max_body_bytes)
        asked = decode_json(body or b"{}", _index_decoder)
        return json_answer(index(registry, runtime.store, ready=asked.ready))

    async def load(request: Request, _: RequestMeter) -> Response:
        control = control_of(runtime.control)
        await read_change(request, ())
        await control.load(request.path_params["model"])
        return json_answer({})

    async def unload(request: Request, _: RequestMeter) -> Response:
        control = control_of(runtime.control)
        await read_change(request, ("unload_dependents",))  # no model here has any
        await control.unload(request.path_params["model"])
        return json_answer({})

    async def read_change(request: Request, known: Sequence[str]) -> None:
        body = await read_body(request, max_bytes=settings.max_body_bytes)
        asked = decode_json(body or b"{}", _change_decoder)
        check_parameters(asked.parameters or {}, known, "the request")

    def route(path: str, handler: Handler) -> Route:
        endpoint = framed("oip.repository", handler, answer=oip_answer)
        return Route(f"/v2/repository/{path}", endpoint, methods=["POST"])

    return [
        route("index", show),
        route("models/{model}/load", load),
        route("models/{model}/unload", unload),
    ]


def _model_routes(runtime: Runtime) -> list[Route]:
    settings, registry = runtime.settings, runtime.registry

    async def metadata(request: Request, _: RequestMeter) -> Response:
        with registry.lease_any(*model_of(request)) as engine:
            return json_answer(model_metadata(engine.manifest))

    async def config(request: Request, _: RequestMeter) -> Response:
        with registry.lease_any(*model_of(request)) as engine:
            return json_answer(model_config(engine.manifest, settings))

    async def ready(request: Request) -> Response:
        try:
            with registry.lease_any(*model_of(request)):
                return Response()
        except TriptychError as error:
            return oip_answer(error)

    async def run(request: Request, meter: RequestMeter) -> Response:
        deadline_s, usual = timeout_s(request, settings), priority_of(request)
        with registry.lease_any(*model_of(request)) as engine:
            meter.model = engine.manifest.name
            engine.batcher.admit(1)
            body = await read_inflated(
                request, max_bytes=settings.max_body_bytes, threads=runtime.decoders
            )
            id_, wanted = parse(engine.manifest, *split(request.headers, body), deadline_s, usual)
            async with abandoned_on_disconnect(request):
                inferred = await infer(engine, wanted, settings)
            header, tensors = render(id_, inferred)
            return await tensor_answer(
                request,
                header,
                tensors,
                headers=timing_headers(inferred.answer),
                threads=runtime.decoders,
            )

    async def stats(request: Request, _: RequestMeter) -> Response:
        with registry.lease_any(*model_of(request)) as engine:
            return json_answer(await statistics([engine.manifest]))

    async def whole(request: Request, meter: RequestMeter) -> Response:
        lease = registry.lease_any(*model_of(request))
        return await generate(request, meter, lease, settings, stream=False)

    async def stream(request: Request, meter: RequestMeter) -> Response:
        lease = registry.lease_any(*model_of(request))
        return await generate(request, meter, lease, settings, stream=True)

    # The most frequent first: routes are tried in their order.
    return [
        *both("/infer", "POST", framed("oip.infer", run, answer=oip_answer)),
        *both("/generate", "POST", framed("oip.generate", whole, answer=oip_answer)),
        *both("/generate_stream", "POST", framed("oip.generate", stream, answer=oip_answer)),
        *both("/ready", "GET", ready),
        *both("", "GET", framed("oip.metadata", metadata, answer=oip_answer)),
        *both("/config", "GET", framed("oip.metadata", config, answer=oip_answer)),
        *both("/stats", "GET", framed("oip.statistics", stats, answer=oip_answer)),
    ]


def model_of(request: Request) -> tuple[str, str | None]:
    """The path's model, and its version where it names one."""
    return request.path_params["model"], request.path_params.get("version")


def both(action: str, method: str, endpoint: Callable[..., Any]) -> list[Route]:
    """An action's route, with and without a version."""
    return [
        Route(f"/v2/models/{{model}}{version}{action}", endpoint, methods=[method])
        for version in ("", "/versions/{version}")
    ]


def _otherwise(known: Sequence[Route]) -> Callable[..., Any]:
    async def refuse(request: Request, meter: RequestMeter) -> Response:
        path = request.url.path
        allowed = {
            method
            for route in known
            if route.matches(request.scope)[0] is not Match.NONE
            for method in route.methods or ()
        }
        if allowed:
            names = ", ".join(sorted(allowed))
            answer = oip_answer(
                MethodNotAllowedError(f"{path} does not take {request.method}; it takes {names}")
            )
            answer.headers["allow"] = names
            meter.deferred = True
            meter.close("invalid")
            return answer
        raise UnknownNameError(
            f"there is no {path}; the extensions here are {', '.join(EXTENSIONS)}"
        )

    return framed("oip", refuse, answer=oip_answer)
