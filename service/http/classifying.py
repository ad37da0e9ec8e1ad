"""Requests to classify, `POST /v1/classify`: what the query says, and the shape of the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NotRequired

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from typing_extensions import TypedDict

from service.errors import InvalidInputError
from service.feedback import Observation, Row
from service.http.bodies import whole_number
from service.http.openapi import ASKING, BYTES, JSON, MODEL, PRIORITY, TIMEOUT, Operation, Parameter
from service.images import FEATURES, image_features

DEFAULT_TOP_K = 5


class Score(TypedDict):
    """A class and its probability."""

    label: str
    index: int
    score: float


class Prediction(Score):
    """The most likely class of one image, the `top` ones, and where the model looked.

    `heatmap` [h][w] in 0..1 covers the centre square that the model saw.
    """

    top: list[Score]
    heatmap: NotRequired[list[list[float]]]


class Classification(TypedDict):
    """One prediction per image, in order, and who made them."""

    model: str
    version: str
    predictions: list[Prediction]


CLASSIFY = Operation(
    summary="Classify one or many images",
    tag="Pictures",
    description="An image of any size and common format as the body, or one or many as files.",
    parameters=(
        MODEL,
        Parameter("top_k", "query", "How many classes", {"type": "integer", "minimum": 1}),
        Parameter("explain", "query", "Adds a heatmap", {"type": "boolean", "default": False}),
        TIMEOUT,
        PRIORITY,
    ),
    body={
        "image/*": BYTES,
        "application/octet-stream": BYTES,
        "multipart/form-data": {"type": "object", "additionalProperties": BYTES},
    },
    answer={JSON: Classification},
    errors=(*ASKING, 422),
)


def read_query(request: Request) -> Mapping[str, str]:
    """The query's parameters; raises InvalidInputError for one that is not known."""
    if not request.scope["query_string"]:
        return {}
    query = request.query_params
    unknown = set(query) - {"model", "top_k", "explain"}
    if unknown:
        raise InvalidInputError(
            f"{min(unknown)[:80]!r} is not a parameter; there is model, top_k, explain",
            field=min(unknown),
        )
    return query


def parse_explain(text: str) -> bool:
    """Whether a heatmap is wanted; raises InvalidInputError unless that is a truth value."""
    if text.lower() not in ("true", "false", "1", "0"):
        raise InvalidInputError(f"explain must be true or false, not {text!r}", field="explain")
    return text.lower() in ("true", "1")


def parse_top_k(text: str | None, classes: int) -> int:
    """How many classes to name, 1 to `classes`; raises InvalidInputError."""
    if text is None:
        return min(DEFAULT_TOP_K, classes)
    top_k = whole_number(text)
    if top_k is None or not 1 <= top_k <= classes:
        raise InvalidInputError(
            f"top_k must be a whole number from 1 to {classes}, not {text[:20]!r}", field="top_k"
        )
    return top_k


def observed(
    labels: Sequence[str],
    files: Sequence[bytes],
    images: Sequence[NDArray[np.uint8]],
    probability_NC: NDArray[np.float32],
) -> Observation:
    """An answered request as feedback: a row an image."""

    def rows(wanted: frozenset[str]) -> list[Row]:
        features = image_features(np.stack(images)) if wanted.intersection(FEATURES) else {}
        return [
            {
                "label": labels[index],
                "score": float(probability_NC[row, index]),
                "image": files[row] if "image" in wanted else None,
                **{name: float(value_N[row]) for name, value_N in features.items()},
            }
            for row, index in enumerate(probability_NC.argmax(axis=1).tolist())
        ]

    size_bytes = sum(map(len, files)) + sum(image_HWC.nbytes for image_HWC in images)
    return Observation(images, len(images), size_bytes, rows)
