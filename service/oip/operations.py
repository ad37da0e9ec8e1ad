"""What the OpenAPI document says of the protocol's routes."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from service.http.openapi import (
    BYTES,
    JSON,
    PRIORITY,
    TIMEOUT,
    Operation,
    Operations,
    Parameter,
)

_TAG = "Open Inference Protocol"
_Parameters = dict[str, bool | int | float | str]


class OipError(TypedDict):
    """The protocol's error body."""

    error: str


class ServerMetadata(TypedDict):
    """Who answers, and which of Triton's extensions are here."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(TypedDict):
    """A tensor; -1 is an axis of any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(TypedDict):
    """A model's tensors."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class InferInput(TypedDict):
    """A tensor, row-major: in `data`, or behind the JSON as `binary_data_size` bytes."""

    name: str
    shape: list[int]
    datatype: str
    parameters: NotRequired[_Parameters | None]
    data: NotRequired[list[Any]]


class InferWanted(TypedDict):
    """An output that is wanted."""

    name: str
    parameters: NotRequired[_Parameters | None]


class InferRequest(TypedDict):
    """Tensors in; the outputs that are wanted, all if none is named."""

    inputs: list[InferInput]
    id: NotRequired[str]
    parameters: NotRequired[_Parameters | None]
    outputs: NotRequired[list[InferWanted] | None]


class InferOutput(TypedDict):
    """A tensor, in `data` or behind the JSON."""

    name: str
    datatype: str
    shape: list[int]
    parameters: NotRequired[_Parameters]
    data: NotRequired[list[Any]]


class InferAnswer(TypedDict):
    """Tensors out."""

    model_name: str
    model_version: str
    id: NotRequired[str]
    outputs: list[InferOutput]


class GenerateRequest(TypedDict):
    """A text to be continued; parameters as in OpenAI's completions."""

    text_input: str
    id: NotRequired[str]
    parameters: NotRequired[dict[str, Any] | None]


class GenerateAnswer(TypedDict):
    """The text's continuation, or, in a stream, its next piece."""

    model_name: str
    model_version: str
    id: NotRequired[str]
    text_output: str


class Timed(TypedDict):
    """How many, and how long in all."""

    count: int
    ns: int


class ModelStatistics(TypedDict):
    """Triton's statistics of a model, of all workers since the server's start."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: dict[str, Timed]
    batch_stats: list[Any]


class Statistics(TypedDict):
    """Statistics of one model or all."""

    model_stats: list[ModelStatistics]


class IndexRequest(TypedDict):
    """Which models to list: all, or those that are ready."""

    ready: NotRequired[bool]


class IndexEntry(TypedDict):
    """A model of the store, its state and why."""

    name: str
    version: str
    state: Literal["READY", "LOADING", "UNAVAILABLE"]
    reason: str


class ChangeRequest(TypedDict):
    """Parameters of a load or an unload."""

    parameters: NotRequired[_Parameters | None]


def _operation(summary: str, answer: Any = None, **more: Any) -> Operation:
    """`answer`: the type of a JSON answer, or bodies by content type; None for no body."""
    content = answer if isinstance(answer, dict) else {} if answer is None else {JSON: answer}
    return Operation(summary=summary, tag=_TAG, **({"answer": content, "error": OipError} | more))


_HEADER_LENGTH = Parameter(
    "inference-header-content-length",
    "header",
    "Length of the JSON, where raw tensors follow it",
    {"type": "integer", "minimum": 0},
)

_OF_A_MODEL: Operations = {
    "GET": _operation("A model's tensors", ModelMetadata, errors=(404, 503)),
    "GET /ready": _operation("Whether a model is served", errors=(404, 503)),
    "GET /config": _operation(
        "Triton's configuration of a model", {JSON: {"type": "object"}}, errors=(404, 503)
    ),
    "GET /stats": _operation("Triton's statistics of a model", Statistics, errors=(404, 503)),
    "POST /infer": _operation(
        "Run tensors through a model",
        {JSON: InferAnswer, "application/octet-stream": BYTES},
        body={JSON: InferRequest, "application/octet-stream": BYTES},
        parameters=(TIMEOUT, PRIORITY, _HEADER_LENGTH),
        description="JSON, or JSON and raw tensors behind it, both ways; gzip and deflate too.",
    ),
    "POST /generate": _operation(
        "Continue a text", GenerateAnswer, body={JSON: GenerateRequest},
        parameters=(TIMEOUT, PRIORITY),
    ),
    "POST /generate_stream": _operation(
        "Continue a text, as events", {"text/event-stream": {"type": "string"}},
        body={JSON: GenerateRequest},
        parameters=(TIMEOUT, PRIORITY),
    ),
}  # fmt: skip


def _with_versions() -> dict[str, Operation]:
    found: dict[str, Operation] = {}
    for key, operation in _OF_A_MODEL.items():
        method, _, action = key.partition(" ")
        for version in ("", "/versions/{version}"):
            found[f"{method} /v2/models/{{model}}{version}{action}"] = operation
    return found


_CHANGE = {
    "body": {JSON: ChangeRequest},
    "body_required": False,
    "answer": {JSON: {"type": "object"}},
}

OPERATIONS: Operations = {
    "GET /v2": _operation("Server and extensions", ServerMetadata, errors=()),
    "GET /v2/health/live": _operation("The process answers", errors=()),
    "GET /v2/health/ready": _operation("Every model is served", errors=(503,), error=None),
    "GET /v2/models/stats": _operation("Statistics of all models", Statistics, errors=()),
    **_with_versions(),
    "POST /v2/repository/index": _operation(
        "Models of the store with their state", list[IndexEntry],
        body={JSON: IndexRequest}, body_required=False, errors=(400, 413),
    ),
    "POST /v2/repository/models/{model}/load": _operation(
        "Load a model, on every worker", **_CHANGE, errors=(400, 403, 404, 413, 503)
    ),
    "POST /v2/repository/models/{model}/unload": _operation(
        "Unload a model, on every worker", **_CHANGE, errors=(400, 403, 404, 413)
    ),
}  # fmt: skip
