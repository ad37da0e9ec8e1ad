"""What the text routes answer, and what is said of them in the OpenAPI document."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from service.http.completions import CompletionRequest
from service.http.openapi import JSON, MODEL, PRIORITY, TIMEOUT, Operation
from service.http.tokens import DetokenizeRequest, Text, TokenizeRequest, TokenizerInfo, Tokens


class Logprobs(TypedDict):
    """OpenAI's log-probabilities, in nats; null for a prompt's first token."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(TypedDict):
    """One text, or, in a stream, the next piece of one."""

    text: str
    index: int
    logprobs: Logprobs | None
    finish_reason: Literal["stop", "length"] | None


class Usage(TypedDict):
    """How many tokens were read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionBody(TypedDict):
    """OpenAI's completion, whole or as a chunk of a stream; and version and seed."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    version: str
    seed: int
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: NotRequired[Usage | None]


TEXT = "Text"
COMPLETIONS = Operation(
    summary="Continue one or several texts",
    tag=TEXT,
    description="OpenAI's completions. One character is one token. A stream is ended by `[DONE]`.",
    parameters=(TIMEOUT, PRIORITY),
    body={JSON: CompletionRequest},
    answer={JSON: CompletionBody, "text/event-stream": {"type": "string"}},
)
TOKENIZE = Operation(
    summary="A text as the model's tokens",
    tag=TEXT,
    body={JSON: TokenizeRequest},
    answer={JSON: Tokens},
    errors=(400, 404, 413, 415, 503),
)
DETOKENIZE = Operation(
    summary="Tokens as the text that they spell",
    tag=TEXT,
    body={JSON: DetokenizeRequest},
    answer={JSON: Text},
    errors=(400, 404, 413, 415, 503),
)
TOKENIZER_INFO = Operation(
    summary="What a model's tokens are",
    tag=TEXT,
    parameters=(MODEL,),
    answer={JSON: TokenizerInfo},
    errors=(404, 503),
)
WEBSOCKET = Operation(
    summary="Continue texts over a WebSocket",
    tag=TEXT,
    description=(
        "Opens a WebSocket. Each message is a completion request, streamed unless its `stream` is "
        'false; the answer is the stream\'s chunks, one a message, then `{"done": true}`, or '
        '`{"error": {...}}` if it failed. `{"cancel": true}` ends the running one. Pages of other '
        "sites are turned away."
    ),
    parameters=(TIMEOUT, PRIORITY),
    status=101,
    errors=(400, 403, 426),
)
