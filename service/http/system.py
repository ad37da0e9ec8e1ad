"""Routes that do not belong to one kind: probes, metrics, the list of models."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service import metrics
from service.errors import UnknownNameError
from service.http.answers import json_answer
from service.http.exchange import framed
from service.kinds.base import Kind
from service.metrics import RequestMeter
from service.runtime import Runtime


def routes(runtime: Runtime) -> Sequence[Route]:
    """`/livez`, `/readyz`, `/healthz`, `/metrics`, `/v1/models`, `/v1/models/{model}`."""

    async def live(_: Request) -> Response:
        return Response("ok\n", media_type="text/plain")

    async def ready(_: Request) -> Response:
        registry = runtime.registry
        serving = {engine.manifest.name: engine.manifest.version for engine in registry.engines()}
        content = {"ready": registry.ready, "serving": serving, "problems": registry.problems}
        return json_answer(content, status=200 if registry.ready else 503)

    async def expose(_: Request) -> Response:
        return Response(await metrics.exposition(), media_type=metrics.CONTENT_TYPE)

    async def list_models(_: Request, __: RequestMeter) -> Response:
        data = [_card(engine) for engine in runtime.registry.engines()]
        return json_answer({"object": "list", "data": data})

    async def show_model(request: Request, meter: RequestMeter) -> Response:
        name = request.path_params["model"]
        for engine in runtime.registry.engines():
            if engine.manifest.name == name:
                meter.model = name
                return json_answer(_card(engine))
        raise UnknownNameError(f"there is no model called {name!r}", field="model")

    return [
        Route("/livez", live),
        Route("/healthz", live),
        Route("/readyz", ready),
        Route("/metrics", expose),
        Route("/v1/models", framed("models", list_models)),
        Route("/v1/models/{model}", framed("models", show_model)),
    ]


def _card(engine: Kind) -> dict[str, Any]:
    """OpenAI's model object, and what else a client may want to know."""
    manifest = engine.manifest
    return {
        "id": manifest.name,
        "object": "model",
        "created": int(datetime.fromisoformat(manifest.created_at).timestamp()),
        "owned_by": "triptych",
        "kind": manifest.kind,
        "version": manifest.version,
        "digest": manifest.graph_sha256,
        "description": manifest.description,
        "labels": manifest.labels,
        "vocabulary": manifest.vocabulary,
        "inputs": manifest.inputs,
        "outputs": manifest.outputs,
        "metrics": manifest.metrics,
        "batch_invariance": engine.invariance,
    }
