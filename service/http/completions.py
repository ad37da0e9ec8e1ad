"""OpenAI's completions, as text over any source of tokens: requests, answers, streams.

Shapes follow OpenAI's API reference for `POST /v1/completions`. One character is one token.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from service.chance import fresh_id
from service.errors import InvalidInputError
from service.feedback import Observation, Row
from service.noise import MAX_SEED
from service.sequences import FinishReason, Token

MAX_STOPS = 4
MAX_STOP_CHARS = 64
MAX_TOP_LOGPROBS = 5


class StreamOptions(msgspec.Struct, forbid_unknown_fields=True):
    """`include_usage` adds a last chunk that counts tokens.

    `include_obfuscation` is taken and does nothing: chunks carry no padding.
    """

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class CompletionRequest(msgspec.Struct, forbid_unknown_fields=True):
    """OpenAI's request, and `top_k`. Null means the default, as in OpenAI's API."""

    prompt: str | list[Any] | None = None
    model: str | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    n: Annotated[int, msgspec.Meta(ge=1)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, le=MAX_SEED)] | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    echo: bool | None = None
    best_of: Annotated[int, msgspec.Meta(ge=1)] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    suffix: str | None = None
    user: str | None = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream's last chunk counts tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def stops(self) -> list[str]:
        """The stop strings; raises InvalidInputError for too many, empty or too long ones."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        if len(stops) > MAX_STOPS:
            raise InvalidInputError(
                f"stop has {len(stops)}; the limit is {MAX_STOPS}", field="stop"
            )
        for stop in stops:
            if not 1 <= len(stop) <= MAX_STOP_CHARS:
                raise InvalidInputError(
                    f"a stop must have 1 to {MAX_STOP_CHARS} characters", field="stop"
                )
        return stops

    def refuse_unsupported(self) -> None:
        """Raise InvalidInputError for what OpenAI has and this service does not do."""
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise InvalidInputError("best_of must equal n: nothing is ranked", field="best_of")
        if self.stream_options is not None and not self.stream:
            raise InvalidInputError("stream_options need stream to be true", field="stream_options")
        for name in ("presence_penalty", "frequency_penalty", "logit_bias", "suffix"):
            if getattr(self, name):
                raise InvalidInputError(f"{name} is not supported", field=name)


@dataclass(slots=True)
class Choice:
    """The text of one choice as it grows, with what may yet become a stop string held back."""

    index: int
    vocabulary: str
    stops: Sequence[str]
    prompt: str = ""
    echoed: list[Token] | None = None
    """The prompt's tokens, scored, when the prompt is echoed with log-probabilities."""
    with_logprobs: bool = False
    tokens: list[Token] = field(default_factory=list)
    released: int = 0
    finish_reason: FinishReason | None = None

    def text_of(self, tokens: Sequence[Token]) -> str:
        """Characters of tokens."""
        return "".join([self.vocabulary[token.index] for token in tokens])

    def push(self, tokens: list[Token], finish: FinishReason | None) -> list[Token]:
        """Add tokens; return those that can now be shown."""
        self.tokens.extend(tokens)
        self.finish_reason = finish
        if finish == "stop":
            end = len(self.tokens) - self._stop_chars()
        elif finish is None:
            end = len(self.tokens) - self._held_chars()
        else:
            end = len(self.tokens)
        shown = self.tokens[self.released : end]
        self.released = max(end, self.released)
        return shown

    def _tail(self) -> str:
        return self.text_of(self.tokens[-MAX_STOP_CHARS:])

    def _stop_chars(self) -> int:
        tail = self._tail()
        return next(len(stop) for stop in self.stops if tail.endswith(stop))

    def _held_chars(self) -> int:
        """Length of the longest ending that is the beginning of a stop string."""
        if not self.stops:
            return 0
        tail = self._tail()
        return max(
            (
                length
                for stop in self.stops
                for length in range(1, len(stop))
                if tail.endswith(stop[:length])
            ),
            default=0,
        )

    def logprobs(self, tokens: Sequence[Token], first_offset: int) -> dict[str, Any] | None:
        """OpenAI's `logprobs` object for tokens that begin at a text offset."""
        if not self.with_logprobs:
            return None
        return {
            "tokens": [self.vocabulary[token.index] for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [
                None
                if token.top is None
                else {self.vocabulary[index]: logprob for index, logprob in self._ranked(token)}
                for token in tokens
            ],
            "text_offset": list(range(first_offset, first_offset + len(tokens))),
        }

    @staticmethod
    def _ranked(token: Token) -> list[tuple[int, float]]:
        """The likeliest tokens and, as OpenAI has it, the token itself if it is none of them."""
        top = token.top or []
        if token.logprob is None or any(index == token.index for index, _ in top):
            return top
        return [*top, (token.index, token.logprob)]

    def body(self) -> dict[str, Any]:
        """The whole choice, for an answer that is not streamed."""
        shown = self.tokens[: self.released]
        text = self.text_of(shown)
        offset = len(self.prompt)
        if self.echoed is not None:
            shown, text, offset = [*self.echoed, *shown], self.prompt + text, 0
        return self._body(text, shown, offset, self.finish_reason)

    def echo_chunk(self) -> dict[str, Any]:
        """The prompt, as the first chunk of a stream that echoes it."""
        return self._body(self.prompt, self.echoed or [], 0, None)

    def chunk(self, shown: list[Token]) -> dict[str, Any]:
        """Tokens just released by `push`, as a chunk of a stream."""
        offset = len(self.prompt) + self.released - len(shown)
        return self._body(self.text_of(shown), shown, offset, self.finish_reason)

    def _body(
        self, text: str, shown: Sequence[Token], offset: int, finish: FinishReason | None
    ) -> dict[str, Any]:
        return {
            "text": text,
            "index": self.index,
            "logprobs": self.logprobs(shown, offset),
            "finish_reason": finish,
        }


class Envelope:
    """What all bodies of one completion have in common."""

    def __init__(self, model: str, version: str, digest: str, seed: int) -> None:
        self._common = {
            "id": f"cmpl-{fresh_id()}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
            "version": version,
            "seed": seed,
            "system_fingerprint": f"fp_{digest[:12]}",
        }

    def body(
        self, choices: list[dict[str, Any]], usage: dict[str, int] | None = None
    ) -> dict[str, Any]:
        """An answer, or a chunk of a stream."""
        body: dict[str, Any] = {**self._common, "choices": choices}
        if usage is not None:
            body["usage"] = usage
        return body


def observation(choices: Sequence[Choice]) -> Observation:
    """Finished choices as feedback: a row each."""
    written = [
        (one.prompt, one.text_of(one.tokens[: one.released]), one.finish_reason) for one in choices
    ]

    def rows(_: frozenset[str]) -> list[Row]:
        return [
            {
                "prompt_chars": len(prompt),
                "text_chars": len(text),
                "finish_reason": reason,
                "prompt": prompt,
                "text": text,
            }
            for prompt, text, reason in written
        ]

    # The text tells requests of one prompt apart, and the same seed writes it again.
    key = [part.encode() for prompt, text, _ in written for part in (prompt, text)]
    return Observation(key, len(written), sum(map(len, key)), rows)


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """OpenAI's `usage` object."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def event(body: bytes) -> bytes:
    """A server-sent event (WHATWG HTML, section 9.2)."""
    return b"data: " + body + b"\n\n"
