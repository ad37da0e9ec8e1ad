"""The protocol's HTTP routes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from service.errors import MethodNotAllowedError, TriptychError, UnknownNameError
from service.http.answers import json_answer
from service.http.exchange import abandoned_on_disconnect, framed, timeout_s, timing_headers
from service.metrics import RequestMeter
from service.oip.answers import oip_answer
from service.oip.bodies import read_inflated, split, tensor_answer
from service.oip.descriptions import EXTENSIONS, model_config, model_metadata, server_metadata
from service.oip.inference import infer
from service.oip.requests import parse, render
from service.runtime import Runtime

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def routes(runtime: Runtime) -> Sequence[Route]:
    """Everything under `/v2`."""
    found = [*_server_routes(runtime), *_model_routes(runtime)]
    return [*found, Route("/v2/{rest:path}", _otherwise(found), methods=_METHODS)]


def _server_routes(runtime: Runtime) -> list[Route]:
    async def server(_: Request, __: RequestMeter) -> Response:
        return json_answer(server_metadata())

    async def live(_: Request) -> Response:
        return Response()

    async def ready(_: Request) -> Response:
        return Response(status_code=200 if runtime.registry.ready else 503)

    return [
        Route("/v2", framed("oip.server", server, answer=oip_answer)),
        Route("/v2/health/live", live),
        Route("/v2/health/ready", ready),
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
        deadline_s = timeout_s(request, settings)
        with registry.lease_any(*model_of(request)) as engine:
            meter.model = engine.manifest.name
            engine.batcher.admit(1)
            body = await read_inflated(
                request, max_bytes=settings.max_body_bytes, threads=runtime.decoders
            )
            id_, wanted = parse(*split(request.headers, body), deadline_s)
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

    # The most frequent first: routes are tried in their order.
    return [
        *both("infer", "/infer", "POST", framed("oip.infer", run, answer=oip_answer)),
        *both("ready", "/ready", "GET", ready),
        *both("metadata", "", "GET", framed("oip.metadata", metadata, answer=oip_answer)),
        *both("config", "/config", "GET", framed("oip.config", config, answer=oip_answer)),
    ]


def model_of(request: Request) -> tuple[str, str | None]:
    """The path's model, and its version where it names one."""
    return request.path_params["model"], request.path_params.get("version")


def both(name: str, action: str, method: str, endpoint: Callable[..., Any]) -> list[Route]:
    """An action's route, with and without a version."""
    return [
        Route(f"/v2/models/{{model}}{middle}{action}", endpoint, methods=[method], name=name)
        for middle in ("", "/versions/{version}")
    ]


def _otherwise(known: Sequence[Route]) -> Callable[..., Any]:
    async def refuse(request: Request, _: RequestMeter) -> Response:
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
            return answer
        raise UnknownNameError(
            f"there is no {path}; the extensions here are {', '.join(EXTENSIONS)}"
        )

    return framed("oip", refuse, answer=oip_answer)
