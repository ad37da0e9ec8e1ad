"""Every request that the clients send, as a `Call`.

Both clients make their methods of these functions, so that each is written, typed and documented
once. Nothing here touches the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack
from urllib.parse import quote

import msgspec

from triptych.client.answers import (
    Classification,
    Completion,
    Gallery,
    Grid,
    Inference,
    Model,
    Prediction,
    Readiness,
    Tokens,
)
from triptych.client.call import Call, CallOptions, Reply, post_json, read_json
from triptych.client.errors import UnexpectedAnswerError
from triptych.client.events import Reader
from triptych.client.pictures import ImageInput, encoded, is_one, several
from triptych.client.tensors import packed, unpacked

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PromptInput: TypeAlias = "str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]"
"""A text, several, the tokens of one, or of several."""


# --- images -----------------------------------------------------------------------------------


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


# --- text -------------------------------------------------------------------------------------


def generate(
    prompt: PromptInput,
    *,
    model: str | None = None,
    max_tokens: int = 200,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    n: int | None = None,
    seed: int | None = None,
    stop: str | Sequence[str] | None = None,
    echo: bool | None = None,
    logprobs: int | None = None,
    **options: Unpack[CallOptions],
) -> Call[Completion]:
    """Continue one text or several.

    Args:
        prompt: a text, several, or tokens.
        model: the model; None: the first of its kind by name.
        max_tokens: the most characters to write; a token is a character.
        temperature: 0 (the likeliest character, always) to 2; None: 1.
        top_p: draw from the likeliest characters that have this probability together, 0 to 1.
        top_k: draw from this many of the likeliest characters; 0 or None: from all.
        n: texts a prompt.
        seed: the same one writes the same text; None: the server draws one, and tells.
        stop: ends the text before it; at most 4.
        echo: whether the prompt comes before the text.
        logprobs: adds log-probabilities, and this many of the likeliest characters, 0 to 5.
        options: as `CallOptions`.

    Raises InvalidInputError, for a character that the model's vocabulary lacks, say, and
    TooLargeError for a prompt or a length beyond the server's limit.
    """
    fields = {
        "prompt": prompt, "model": model, "max_tokens": max_tokens, "temperature": temperature,
        "top_p": top_p, "top_k": top_k, "n": n, "seed": seed, "stop": stop, "echo": echo,
        "logprobs": logprobs,
    }  # fmt: skip
    return post_json("/v1/completions", fields, partial(read_json, into=Completion), options)


def stream(
    prompt: PromptInput,
    *,
    model: str | None = None,
    max_tokens: int = 200,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    n: int | None = None,
    seed: int | None = None,
    stop: str | Sequence[str] | None = None,
    echo: bool | None = None,
    logprobs: int | None = None,
    **options: Unpack[CallOptions],
) -> Call[Reader]:
    """Continue a text and get it in chunks, as they are written; arguments as `generate`.

    Iterate over what this returns. As a context manager it ends the text on the server when it is
    left early. The client's `timeout_s` bounds the wait for each chunk; one of its own bounds the
    whole stream. Until its first chunk a stream is tried again like any request, and never after.
    """
    fields = {
        "prompt": prompt, "model": model, "max_tokens": max_tokens, "temperature": temperature,
        "top_p": top_p, "top_k": top_k, "n": n, "seed": seed, "stop": stop, "echo": echo,
        "logprobs": logprobs, "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    return post_json("/v1/completions", fields, lambda _: Reader(), options)


class _Encoded(msgspec.Struct):
    model: str
    version: str
    tokens: list[list[int]]


class _Decoded(msgspec.Struct):
    prompt: str


def tokenize(
    texts: str | Sequence[str], *, model: str | None = None, **options: Unpack[CallOptions]
) -> Call[Tokens]:
    """A text, or several, as the model's tokens: a row a text."""

    def read(reply: Reply) -> Tokens:
        found = read_json(reply, _Encoded)
        return Tokens(found.model, found.version, tuple(map(tuple, found.tokens)))

    prompts = [texts] if isinstance(texts, str) else texts
    return post_json("/v1/tokenize", {"prompt": prompts, "model": model}, read, options)


def detokenize(
    tokens: Sequence[int], *, model: str | None = None, **options: Unpack[CallOptions]
) -> Call[str]:
    """The text that tokens spell."""
    fields = {"tokens": tokens, "model": model}
    return post_json(
        "/v1/detokenize", fields, lambda reply: read_json(reply, _Decoded).prompt, options
    )


# --- pictures ---------------------------------------------------------------------------------


def sample(
    labels: str | Sequence[str] = (),
    *,
    n: int | None = None,
    seed: int | None = None,
    model: str | None = None,
    **options: Unpack[CallOptions],
) -> Call[Gallery]:
    """Draw pictures: number i is of class `labels[i % len(labels)]`.

    Args:
        labels: names of classes; none: every class in turn.
        n: how many; None: one a label.
        seed: the same one draws the same pictures; None: the server draws one, and tells.
        model: the model; None: the first of its kind by name.
        options: as `CallOptions`.

    """
    fields = _drawing(labels, n, seed, model)
    read = partial(read_json, into=Gallery)
    return post_json("/v1/sample", fields, read, options, accept="application/json")


def grid(
    labels: str | Sequence[str] = (),
    *,
    n: int | None = None,
    seed: int | None = None,
    model: str | None = None,
    columns: int | None = None,
    **options: Unpack[CallOptions],
) -> Call[Grid]:
    """As `sample`, on one sheet of `columns` columns, 1 to 64, as a PNG."""
    fields = _drawing(labels, n, seed, model) | {"columns": columns}
    return post_json("/v1/sample", fields, _read_grid, options, accept="image/png")


def _drawing(
    labels: str | Sequence[str], n: int | None, seed: int | None, model: str | None
) -> dict[str, Any]:
    named = [labels] if isinstance(labels, str) else list(labels)
    return {"labels": named, "n": n, "seed": seed, "model": model}


def _read_grid(reply: Reply) -> Grid:
    try:
        model, version = reply.headers["x-model"], reply.headers["x-model-version"]
        seed = int(reply.headers["x-seed"])
    except (KeyError, ValueError) as error:
        raise UnexpectedAnswerError(f"the picture does not say who drew it: {error}") from error
    return Grid(model, version, seed, reply.body)


# --- models and tensors -----------------------------------------------------------------------


class _Models(msgspec.Struct):
    data: list[Model]


def models(**options: Unpack[CallOptions]) -> Call[list[Model]]:
    """The models that are served."""
    return Call("GET", "/v1/models", lambda reply: read_json(reply, _Models).data, options)


def ready(**options: Unpack[CallOptions]) -> Call[Readiness]:
    """Whether the server is ready, and what it serves; that it is not is an answer, not an error.

    Raises ConnectionFailedError if there is no server.
    """
    read = partial(read_json, into=Readiness)
    return Call("GET", "/readyz", read, options, accepts=frozenset({503}))


def infer(
    model: str,
    tensors: Mapping[str, NDArray[np.generic]],
    *,
    outputs: Sequence[str] | None = None,
    version: str | None = None,
    **options: Unpack[CallOptions],
) -> Call[Inference]:
    """Run a model on tensors, over the Open Inference Protocol, in binary; needs numpy.

    Args:
        model: its name.
        tensors: each input by its name.
        outputs: the outputs that are wanted; None: all.
        version: the version that must be the served one; None: whichever is.
        options: as `CallOptions`.

    Raises InvalidInputError for a tensor that the model does not take; the message names it.
    """
    body, headers = packed(tensors, outputs)
    path = f"/v2/models/{quote(model, safe='')}"
    if version is not None:
        path += f"/versions/{quote(version, safe='')}"

    def read(reply: Reply) -> Inference:
        return unpacked(reply.body, reply.headers)

    return Call("POST", path + "/infer", read, options, headers=headers, body=body)
