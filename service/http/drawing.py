"""Requests for pictures, `POST /v1/sample` and OpenAI's `POST /v1/images/generations`: shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from service.errors import InvalidInputError, TooLargeError
from service.feedback import Observation, Row
from service.http.openapi import BYTES, JSON, PRIORITY, TIMEOUT, Operation
from service.images import FEATURES, image_features
from service.noise import MAX_SEED

Seed = Annotated[int, msgspec.Meta(ge=0, le=MAX_SEED)]
Count = Annotated[int, msgspec.Meta(ge=1)]
PNG = "image/png"


class Picture(TypedDict):
    """A drawn picture: its class, and a PNG in base64."""

    label: str
    index: int
    b64_json: str


class Gallery(TypedDict):
    """Pictures in the order asked for; the same seed draws them again."""

    model: str
    version: str
    seed: int
    images: list[Picture]


class GeneratedImage(TypedDict):
    """A PNG in base64."""

    b64_json: str


class Generation(TypedDict):
    """OpenAI's answer, and model, version and seed."""

    created: int
    data: list[GeneratedImage]
    output_format: Literal["png"]
    size: str
    model: str
    version: str
    seed: int


class SampleRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Picture i is of class `labels[i % len(labels)]`; no labels: every class in turn.

    With `seed_to`, the n pictures lead from the first noise of `seed` to that of `seed_to`.
    """

    model: str | None = None
    labels: list[str] = []
    n: Count | None = None
    seed: Seed | None = None
    seed_to: Seed | None = None
    columns: Annotated[int, msgspec.Meta(ge=1, le=64)] | None = None

    def check_walk(self, count: int) -> None:
        """Raise InvalidInputError if `count` pictures cannot lead from `seed` to `seed_to`."""
        if self.seed_to is None:
            return
        if self.seed is None:
            raise InvalidInputError("seed_to needs a seed to start from", field="seed")
        if count < 2:
            raise InvalidInputError(
                f"n must be at least 2 to lead from seed to seed_to, not {count}", field="n"
            )


class GenerationRequest(msgspec.Struct, forbid_unknown_fields=True):
    """OpenAI's image request, and `seed`; the prompt names the class.

    What OpenAI takes as a wish has no effect here: quality, style, moderation,
    output_compression, user, safety_identifier, and a background other than `transparent`.
    """

    prompt: str
    model: str | None = None
    n: Count | None = 1
    size: str | None = None
    response_format: Literal["b64_json", "url"] | None = "b64_json"
    seed: Seed | None = None
    output_format: str | None = None
    background: str | None = None
    stream: bool | None = None
    quality: str | None = None
    style: str | None = None
    moderation: str | None = None
    output_compression: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    user: str | None = None
    safety_identifier: str | None = None

    def refuse_unsupported(self) -> None:
        """Raise InvalidInputError for what OpenAI has and this service does not do."""
        if self.response_format == "url":
            raise InvalidInputError(
                "response_format must be b64_json: pictures are not kept to be linked to",
                field="response_format",
            )
        if self.output_format not in (None, "png"):
            raise InvalidInputError("output_format must be png", field="output_format")
        if self.background == "transparent":
            raise InvalidInputError(
                "background cannot be transparent: the models draw opaque pictures",
                field="background",
            )
        if self.stream:
            raise InvalidInputError(
                "stream must be false: a picture is drawn at once", field="stream"
            )

    def check_size(self, height: int, width: int) -> None:
        """Raise InvalidInputError unless `size` is the model's own."""
        if self.size not in (None, "auto", f"{width}x{height}"):
            raise InvalidInputError(
                f"size must be {width}x{height}, the size that this model draws", field="size"
            )


def check_pictures(count: int, limit: int) -> None:
    """Raise TooLargeError for more than `limit` pictures."""
    if count > limit:
        raise TooLargeError(f"n is {count} pictures; the limit is {limit}", field="n")


def columns_of(images: int, labels: int) -> int:
    """Of a sheet: one column per class asked for when they fill whole rows, else near a square."""
    if 1 < labels < images and images % labels == 0:
        return labels
    return max(1, round(math.sqrt(images)))


TAG = "Pictures"
SAMPLE = Operation(
    summary="Draw pictures of the classes named",
    tag=TAG,
    description="A PNG; a grid of several; single ones in JSON if the client accepts that.",
    parameters=(TIMEOUT, PRIORITY),
    body={JSON: SampleRequest},
    answer={PNG: BYTES, JSON: Gallery},
)
GENERATE = Operation(
    summary="Draw pictures of the class that a prompt names",
    tag=TAG,
    description="As OpenAI's clients ask for it.",
    parameters=(TIMEOUT, PRIORITY),
    body={JSON: GenerationRequest},
    answer={JSON: Generation},
)


def observed(
    labels: Sequence[str],
    classes: Sequence[int],
    seed: int,
    image_NHWC: NDArray[np.uint8],
    prompt: str | None,
) -> Observation:
    """An answered request as feedback: a row a picture."""

    def rows(wanted: frozenset[str]) -> list[Row]:
        features = image_features(image_NHWC) if wanted.intersection(FEATURES) else {}
        return [
            {
                "label": labels[index],
                "prompt_chars": None if prompt is None else len(prompt),
                "prompt": prompt,
                **{name: float(value_N[row]) for name, value_N in features.items()},
            }
            for row, index in enumerate(classes)
        ]

    key = (repr(list(classes)).encode(), str(seed).encode())
    return Observation(key, len(classes), image_NHWC.nbytes, rows)
