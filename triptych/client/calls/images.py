"""Classify images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Unpack

import msgspec

from triptych.client.answers import Classification, Prediction
from triptych.client.call import Call, CallOptions, Reply, read_json
from triptych.client.pictures import ImageInput, encoded, is_one, several


def classify(
    images: ImageInput | Iterable[ImageInput],
    *,
    model: str | None = None,
    top_k: int | None = None,
    explain: bool = False,
    **options: Unpack[CallOptions],
) -> Call[Classification]:
    """Classify one image or several in one request.

    Args:
        images: paths, bytes, open files, pictures of Pillow's, or arrays of uint8 [H, W, 3],
            [H, W] or, several in one, [N, H, W, 3]. The model sees the centre square.
        model: the model; None: the first of its kind by name.
        top_k: how many classes to name, 1 to all; None: 5.
        explain: adds a heatmap.
        options: as `CallOptions`.

    Raises:
        InvalidInputError: an image that cannot be decoded, named by `param`; or another argument.
        TooLargeError: more images or bytes than the server takes; see `classify_many`.
        OSError: a file cannot be read.

    """
    params = ["image"] if is_one(images) else None
    files = [
        encoded(image, params[0] if params else f"images[{index}]")
        for index, image in enumerate(several(images))
    ]
    return classify_encoded(
        files, single=params is not None, model=model, top_k=top_k, explain=explain, options=options
    )


def classify_encoded(
    files: Sequence[bytes],
    *,
    single: bool = False,
    model: str | None,
    top_k: int | None,
    explain: bool,
    options: CallOptions,
) -> Call[Classification]:
    """As `classify`, of encoded images; a `single` one is the body itself."""
    query = {} if model is None else {"model": model}
    if top_k is not None:
        query["top_k"] = str(top_k)
    if explain:
        query["explain"] = "true"
    make = partial(Call, "POST", "/v1/classify", _read_classification, options, query)
    if single:
        return make(headers={"content-type": "application/octet-stream"}, body=files[0])
    return make(files=files)


def _read_classification(reply: Reply) -> Classification:
    found = read_json(reply, Classification)
    told = {"model": found.model, "version": found.version}
    rows = [msgspec.structs.replace(row, **told) for row in found.predictions]
    return Classification(**told, predictions=tuple[Prediction, ...](rows))
