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
from service.lease import Role, Version
from service.metrics import RequestMeter
from service.naming import parse_model
from service.registry import Registry
from service.runtime import Runtime


class NamedVersion(TypedDict):
    """A version that requests may name as `model@version`: the served one, or one on trial."""

    version: str
    role: Role


class ModelCard(TypedDict):
    """OpenAI's model object, and what else a client may want to know.

    `version` and what follows are of the version that is served, or of the one that was asked for.
    """

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    kind: str
    version: str
    versions: list[NamedVersion]
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
        summary="A model, or one of its versions: `name@version`",
        tag="Models",
        answer={JSON: ModelCard},
        errors=(404, 500),
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
        registry = runtime.registry
        names = [engine.manifest.name for engine in registry.engines()]
        data = [_card(name, registry.versions(name)[0], registry) for name in names]
        return json_answer({"object": "list", "data": data})

    async def show_model(request: Request, meter: RequestMeter) -> Response:
        asked = request.path_params["model"]
        name, version = parse_model(asked)
        known = runtime.registry.versions(name)
        if not known:
            raise UnknownNameError(f"there is no model called {name!r}", field="model")
        meter.model = name
        found = known[0] if version is None else runtime.registry.version(name, version)
        return json_answer(_card(asked, found, runtime.registry))

    return [
        Route("/livez", live),
        Route("/healthz", live),
        Route("/readyz", ready),
        Route("/metrics", expose),
        Route("/v1/models", framed("models", list_models)),
        Route("/v1/models/{model}", framed("models", show_model)),
    ]


def _card(called: str, shown: Version, registry: Registry) -> dict[str, Any]:
    """As `ModelCard` has it; `called` is what a request's `model` may say to get this version."""
    engine = shown.served.engine
    manifest = engine.manifest
    return {
        "id": called,
        "object": "model",
        "created": int(datetime.fromisoformat(manifest.created_at).timestamp()),
        "owned_by": "triptych",
        "kind": manifest.kind,
        "version": manifest.version,
        "versions": [
            {"version": one.name, "role": one.role} for one in registry.versions(manifest.name)
        ],
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
