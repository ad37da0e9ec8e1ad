"""Write text, and take it apart."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TypeAlias, Unpack

import msgspec

from triptych.client.answers import Completion, Tokens
from triptych.client.call import Call, CallOptions, Reply, post_json, read_json
from triptych.client.events import Reader

PromptInput: TypeAlias = "str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]"
"""A text, several, the tokens of one, or of several."""


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
