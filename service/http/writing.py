"""A completion in flight: from an OpenAI request to sequences in the engine, and back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Sequence,
)
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from service.chance import fresh_seed
from service.contract import Manifest
from service.errors import (
    InvalidInputError,
    TooLargeError,
)
from service.feedback import Observation
from service.http.completions import (
    Choice,
    CompletionRequest,
    Envelope,
    event,
    observation,
    usage,
)
from service.http.events import within
from service.sampling import SamplingParameters
from service.sequences import FinishReason, Prompt, Stream, Token
from service.settings import Settings
from service.stepper import Stepper
from service.vocabulary import Vocabulary
from service.waiting import USUAL

log = logging.getLogger("triptych.http")
DEFAULT_MAX_TOKENS = 16  # OpenAI's
T = TypeVar("T")
_encoder = msgspec.json.Encoder()


@dataclass
class Completion:
    """One request's choices, in flight: prompts times n, in that order."""

    envelope: Envelope
    choices: list[Choice]
    streams: list[Stream]
    prompt_tokens: int
    version: str

    @classmethod
    def begin(
        cls,
        manifest: Manifest,
        vocabulary: Vocabulary,
        stepper: Stepper,
        asked: CompletionRequest,
        settings: Settings,
        *,
        priority: int = USUAL,
    ) -> Completion:
        """Check the request and queue its sequences.

        Raises:
            InvalidInputError, TooLargeError: a field is wrong or over its limit.
            OverloadedError: no room for all of them; none is queued.

        """
        prompts = _prompts(asked.prompt, vocabulary, settings.max_prompt_chars)
        n = asked.n or 1
        if len(prompts) * n > settings.max_choices:
            raise TooLargeError(
                f"{len(prompts)} prompts times n = {n} completions; the limit is "
                f"{settings.max_choices}",
                field="n",
            )
        max_tokens = DEFAULT_MAX_TOKENS if asked.max_tokens is None else asked.max_tokens
        if max_tokens > settings.max_tokens:
            raise TooLargeError(
                f"max_tokens is {max_tokens}; the limit is {settings.max_tokens}",
                field="max_tokens",
            )
        sampling = SamplingParameters(
            temperature=1.0 if asked.temperature is None else asked.temperature,
            top_k=asked.top_k or 0,
            top_p=1.0 if asked.top_p is None else asked.top_p,
        )
        stops = asked.stops()
        stepper.admit(len(prompts) * n)
        seed = fresh_seed() if asked.seed is None else asked.seed
        choices: list[Choice] = []
        streams: list[Stream] = []
        for tokens in prompts:
            for row in range(n):
                prompt = Prompt(
                    tokens=tokens or (vocabulary.first_token,),
                    max_tokens=max_tokens,
                    sampling=sampling,
                    seed=seed,
                    row=row,
                    stops=vocabulary.encode_stops(stops),
                    top_logprobs=asked.logprobs,
                    score_prompt=bool(asked.echo) and asked.logprobs is not None,
                    stream=bool(asked.stream),
                    priority=priority,
                    repeatable=asked.seed is not None or sampling.temperature == 0,
                )
                stream = stepper.submit(prompt)
                echoed = stream.scored if tokens else []
                choices.append(
                    Choice(
                        index=len(choices),
                        vocabulary=vocabulary.characters,
                        stops=stops,
                        prompt=vocabulary.decode(tokens),
                        echoed=echoed if asked.echo else None,
                        with_logprobs=asked.logprobs is not None,
                    )
                )
                streams.append(stream)
        envelope = Envelope(manifest.name, manifest.version, manifest.graph_sha256, seed)
        return cls(envelope, choices, streams, sum(map(len, prompts)), manifest.version)

    def cancel(self) -> None:
        """Take every sequence out."""
        for stream in self.streams:
            stream.cancel()

    async def finish(self, deadline_s: float) -> None:
        """Wait for the whole text of every choice."""

        async def drain() -> None:
            for choice, stream in zip(self.choices, self.streams, strict=True):
                tokens = [token async for batch in stream for token in batch]
                choice.push(tokens, stream.finish_reason)

        await within(deadline_s, drain())

    def _usage(self) -> dict[str, int]:
        return usage(self.prompt_tokens, sum(len(choice.tokens) for choice in self.choices))

    def body(self) -> dict[str, Any]:
        """The answer, once finished."""
        return self.envelope.body([choice.body() for choice in self.choices], self._usage())

    def observed(self) -> Observation | None:
        """The request as feedback, a row a choice; None unless every choice was written."""
        if any(choice.finish_reason is None for choice in self.choices):
            return None
        return observation(self.choices)

    def headers(self) -> dict[str, str]:
        """Which version answers, and how long the first sequence waited, in milliseconds."""
        return {
            "x-model-version": self.version,
            "x-queue-time": f"{self.streams[0].queue_s * 1000:.3f}",
        }

    async def pieces(self) -> AsyncGenerator[dict[str, Any], None]:
        """The choices of OpenAI's chunks, one at a time, as tokens come."""
        echoes = {choice.index for choice in self.choices if choice.echoed is not None}
        if len(self.streams) == 1 and not echoes:  # the usual case, without what others need
            (choice,), (stream,) = self.choices, self.streams
            async for tokens in stream:
                shown = choice.push(tokens, stream.finish_reason)
                if shown or stream.finish_reason is not None:
                    yield choice.chunk(shown)
            return
        async with aclosing(_merge(self.streams)) as merged:
            async for index, tokens, finish in merged:
                choice = self.choices[index]
                if index in echoes:
                    echoes.discard(index)
                    yield choice.echo_chunk()
                shown = choice.push(tokens, finish)
                if shown or finish is not None:
                    yield choice.chunk(shown)

    async def chunks(self, *, include_usage: bool) -> AsyncGenerator[bytes, None]:
        """OpenAI's chunks as JSON, as tokens come; the last one counts tokens if that is wanted."""
        # As OpenAI has it: where usage comes at the end, it is null until then.
        pending = {"usage": None} if include_usage else {}
        async with aclosing(self.pieces()) as pieces:
            async for piece in pieces:
                yield _encoder.encode(self.envelope.body([piece]) | pending)
        if include_usage:
            yield _encoder.encode(self.envelope.body([], self._usage()))

    async def events(self, *, include_usage: bool) -> AsyncIterator[bytes]:
        """The chunks as server-sent events, ended by `[DONE]`."""
        async with aclosing(self.chunks(include_usage=include_usage)) as chunks:
            async for chunk in chunks:
                yield event(chunk)
        yield event(b"[DONE]")


def _prompts(
    prompt: str | list[Any] | None, vocabulary: Vocabulary, max_chars: int
) -> list[tuple[int, ...]]:
    """Prompts as tokens: a string, strings, a list of tokens, or lists of tokens."""
    if prompt is None:
        raise InvalidInputError("prompt is missing", field="prompt")
    many = [prompt] if isinstance(prompt, str) or _is_tokens(prompt) else prompt
    if not many:
        raise InvalidInputError("prompt is an empty list", field="prompt")
    found: list[tuple[int, ...]] = []
    for position, one in enumerate(many):
        field = "prompt" if many is not prompt else f"prompt[{position}]"
        if not isinstance(one, str) and not _is_tokens(one):
            raise InvalidInputError(f"{field} must be text or a list of tokens", field=field)
        if len(one) > max_chars:
            raise TooLargeError(
                f"{field} has {len(one)} characters; the limit is {max_chars}",
                field=field,
            )
        if isinstance(one, str):
            found.append(vocabulary.encode(one, field))
            continue
        if any(not 0 <= token < len(vocabulary) for token in one):
            raise InvalidInputError(
                f"{field} has a token outside 0 to {len(vocabulary) - 1}", field=field
            )
        found.append(tuple(one))
    return found


def _is_tokens(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, int) and not isinstance(item, bool) for item in value)
    )


_Arrival = tuple[int, list[Token], FinishReason | None]


async def _merge(streams: Sequence[Stream]) -> AsyncGenerator[_Arrival, None]:
    """Yield (stream's index, tokens, finish) as they come; with its finish a stream ends."""
    if len(streams) == 1:
        async for tokens in streams[0]:
            yield 0, tokens, streams[0].finish_reason
        return
    arrived: asyncio.Queue[_Arrival | Exception | None] = asyncio.Queue()

    async def pump(index: int, stream: Stream) -> None:
        try:
            async for tokens in stream:
                arrived.put_nowait((index, tokens, stream.finish_reason))
            arrived.put_nowait(None)
        except Exception as error:
            arrived.put_nowait(error)

    tasks = [asyncio.create_task(pump(index, stream)) for index, stream in enumerate(streams)]
    try:
        left = len(streams)
        while left:
            item = await arrived.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                left -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
