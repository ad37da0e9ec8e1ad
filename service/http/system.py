"""Routes that do not belong to one kind: probes, metrics, the list of models."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NotRequired

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typing_extensions import TypedDict

from service import metrics
from service.contract import TensorSpec
from service.drain import DRAIN
from service.errors import UnknownNameError
from service.http.answers import json_answer
from service.http.exchange import framed
from service.http.openapi import JSON, Operation, Operations
from service.kinds.base import Kind
from service.metrics import RequestMeter
from service.runtime import Runtime


class ModelCard(TypedDict):
    """OpenAI's model object, and what else a client may want to know."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    kind: str
    version: str
    digest: str
    precision: str
    description: str
    labels: list[str]
    vocabulary: str
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    metrics: dict[str, float]
    batch_invariance: NotRequired[Any]


class ModelList(TypedDict):
    """Every model that is served."""

    object: Literal["list"]
    data: list[ModelCard]


class Readiness(TypedDict):
    """Whether to send requests here, and if not, whether models still load or the server leaves;
    versions by model, and what is wrong by model.
    """

    ready: bool
    state: Literal["loading", "ready", "draining"]
    serving: dict[str, str]
    problems: dict[str, str]


_TEXT = {"text/plain": {"type": "string"}}
OPERATIONS: Operations = {
    "GET /livez": Operation(summary="The process answers", tag="Service", answer=_TEXT, errors=()),
    "GET /healthz": Operation(summary="As /livez", tag="Service", answer=_TEXT, errors=()),
    "GET /readyz": Operation(
        summary="Every model is verified, warm and served",
        description="503, with the same body, until it is so, and once the server is told to end.",
        tag="Service",
        answer={JSON: Readiness},
        errors=(503,),
        error=Readiness,
    ),
    "GET /metrics": Operation(
        summary="Prometheus' metrics of all workers", tag="Service", answer=_TEXT, errors=()
    ),
    "GET /v1/models": Operation(
        summary="The models that are served",
        tag="Models",
        answer={JSON: ModelList},
        errors=(500,),
    ),
    "GET /v1/models/{model}": Operation(
        summary="A model", tag="Models", answer={JSON: ModelCard}, errors=(404, 500)
    ),
}


def routes(runtime: Runtime) -> Sequence[Route]:
    """`/livez`, `/readyz`, `/healthz`, `/metrics`, `/v1/models`, `/v1/models/{model}`."""

    async def live(_: Request) -> Response:
        return Response("ok\n", media_type="text/plain")

    async def ready(_: Request) -> Response:
        registry = runtime.registry
        serving = {engine.manifest.name: engine.manifest.version for engine in registry.engines()}
        state = "draining" if DRAIN.leaving else "ready" if registry.ready else "loading"
        content = {
            "ready": runtime.ready,
            "state": state,
            "serving": serving,
            "problems": registry.problems,
        }
        return json_answer(content, status=200 if runtime.ready else 503)

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
        "precision": manifest.served.precision,
        "description": manifest.description,
        "labels": manifest.labels,
        "vocabulary": manifest.vocabulary,
        "inputs": manifest.inputs,
        "outputs": manifest.outputs,
        "metrics": manifest.metrics,
        "batch_invariance": engine.invariance,
    }
