"""LSTM: text in, more text out. OpenAI's `POST /v1/completions` and the endpoint `generate`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from typing_extensions import TypedDict

from service.errors import (
    DeadlineExceededError,
    InvalidInputError,
    TooLargeError,
    TriptychError,
)
from service.http.answers import error_answer, error_body, json_answer
from service.http.bodies import read_json
from service.http.completions import Choice, CompletionRequest, Envelope, event, usage
from service.http.exchange import abandoned_on_disconnect, framed, timeout_s
from service.kinds.base import Bench, Kind, fixed_axes
from service.loading import LoadedModel
from service.metrics import RequestMeter
from service.noise import fresh_seed
from service.sampling import SamplingParameters
from service.settings import Settings
from service.stepper import FinishReason, Prompt, Stepper, Stream, Token

if TYPE_CHECKING:
    from service.runtime import Runtime

DEFAULT_MAX_TOKENS = 16  # OpenAI's
_decoder = msgspec.json.Decoder(CompletionRequest)
_encoder = msgspec.json.Encoder()


class Continuation(TypedDict):
    """A text and why it ended: `stop` or `length`. The same seed writes it again."""

    model: str
    version: str
    seed: int
    text: str
    finish_reason: str


class Lstm(Kind):
    """A character model: `token` int64 [N, T], `state` [N, S] -> `logits` [N, T, V], `state_out`."""

    name = "lstm"
    inputs = {"token": "int64", "state": "float32"}
    outputs = {"logits": "float32", "state_out": "float32"}

    def __init__(self, model: LoadedModel, bench: Bench) -> None:
        super().__init__(model, bench)
        self.vocabulary = model.manifest.vocabulary
        self._index = {character: index for index, character in enumerate(self.vocabulary)}
        (state_width,) = fixed_axes(model.manifest.input("state"), 1)
        run = model.session.run

        def step(
            token_NT: NDArray[np.int64], state_NS: NDArray[np.float32]
        ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            outputs = run({"token": token_NT, "state": state_NS}, ("logits", "state_out"))
            return outputs["logits"], outputs["state_out"]

        self.stepper = Stepper(
            step,
            state_width=state_width,
            vocabulary=len(self.vocabulary),
            metrics=bench.metrics,
            max_batch_rows=bench.settings.max_batch_rows,
            max_queue_rows=bench.settings.max_queue_rows,
        )

    def close(self) -> None:
        """Stop the stepper's thread."""
        self.stepper.close()

    def encode(self, text: str, field: str = "prompt") -> tuple[int, ...]:
        """Indices of characters; raises InvalidInputError that names the first unknown one."""
        try:
            return tuple(map(self._index.__getitem__, text))
        except KeyError as error:
            character = error.args[0]
            raise InvalidInputError(
                f"{field} has {character!r} at position {text.index(character)}, which is not in "
                f"the model's vocabulary of {len(self.vocabulary)} characters",
                field=field,
            ) from None

    def stop_tokens(self, stops: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Stops as tokens; one with an unknown character can never occur and is dropped."""
        return tuple(
            tuple(self._index[character] for character in stop)
            for stop in stops
            if all(character in self._index for character in stop)
        )

    @property
    def first_token(self) -> int:
        """What an empty prompt starts from: the newline, after which a line begins."""
        return self._index.get("\n", 0)

    @classmethod
    def routes(cls, runtime: Runtime) -> Sequence[Route]:
        """`POST /v1/completions`."""

        async def completions(request: Request, meter: RequestMeter) -> Response:
            settings = runtime.settings
            asked = await read_json(request, _decoder, max_bytes=settings.max_body_bytes)
            asked.refuse_unsupported()
            deadline_s = timeout_s(request, settings)
            with ExitStack() as stack:
                lstm = stack.enter_context(runtime.registry.lease(cls, asked.model))
                meter.model = lstm.manifest.name
                job = Completion.begin(lstm, asked, settings)
                stack.callback(job.cancel)
                if not asked.stream:
                    async with abandoned_on_disconnect(request):
                        await job.finish(deadline_s)
                    return json_answer(job.body(), headers=job.headers())
                events = job.events(
                    include_usage=bool(asked.stream_options and asked.stream_options.include_usage)
                )
                # The first event before the status: what fails before it is a proper error.
                first = await _within(deadline_s, anext(events))
                meter.deferred = True
                rest = _metered(first, events, meter, stack.pop_all())
                return StreamingResponse(
                    rest, media_type="text/event-stream", headers=job.headers()
                )

        return [Route("/v1/completions", framed("completions", completions), methods=["POST"])]

    @classmethod
    def endpoint(cls) -> Callable[..., Any]:
        """`generate(prompt, max_tokens, ...)` of the BentoML service."""

        async def generate(
            self: Any,
            prompt: str,
            max_tokens: int = 200,
            temperature: float = 1.0,
            top_p: float = 1.0,
            top_k: int = 0,
            seed: int | None = None,
            stop: list[str] = [],  # noqa: B006  # BentoML makes the schema of the default
            model: str = "",
        ) -> Continuation:
            """Continue a text, character by character."""
            meter = RequestMeter("bentoml.generate")
            runtime: Runtime = self.runtime
            fields = {
                "prompt": prompt, "max_tokens": max_tokens, "temperature": temperature,
                "top_p": top_p, "top_k": top_k, "seed": seed, "stop": stop,
            }  # fmt: skip
            try:
                asked = msgspec.convert(fields, CompletionRequest)
                with runtime.registry.lease(cls, model or None) as lstm:
                    meter.model = lstm.manifest.name
                    job = Completion.begin(lstm, asked, runtime.settings)
                    try:
                        await job.finish(runtime.settings.request_timeout_s)
                    finally:
                        job.cancel()
                    meter.close("ok")
                    body = job.body()
                    return {
                        "model": body["model"],
                        "version": body["version"],
                        "seed": body["seed"],
                        "text": body["choices"][0]["text"],
                        "finish_reason": body["choices"][0]["finish_reason"],
                    }
            except msgspec.ValidationError as error:
                refused = InvalidInputError(str(error))
                meter.fail(refused)
                return error_answer(refused)  # type: ignore[return-value]  # sent as it is
            except TriptychError as error:
                meter.fail(error)
                return error_answer(error)  # type: ignore[return-value]  # sent as it is

        return generate


KIND = Lstm


@dataclass
class Completion:
    """One request's choices, in flight: prompts times n, in that order."""

    envelope: Envelope
    choices: list[Choice]
    streams: list[Stream]
    prompt_tokens: int
    version: str

    @classmethod
    def begin(cls, lstm: Lstm, asked: CompletionRequest, settings: Settings) -> Completion:
        """Check the request and queue its sequences.

        Raises:
            InvalidInputError, TooLargeError: a field is wrong or over its limit.
            OverloadedError: no room for all of them; none is queued.

        """
        prompts = _prompts(asked.prompt, lstm, settings)
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
        seed = fresh_seed() if asked.seed is None else asked.seed
        lstm.stepper.admit(len(prompts) * n)
        choices: list[Choice] = []
        streams: list[Stream] = []
        for tokens in prompts:
            for row in range(n):
                prompt = Prompt(
                    tokens=tokens or (lstm.first_token,),
                    max_tokens=max_tokens,
                    sampling=sampling,
                    seed=seed,
                    row=row,
                    stops=lstm.stop_tokens(stops),
                    top_logprobs=asked.logprobs,
                    score_prompt=bool(asked.echo) and asked.logprobs is not None,
                    stream=bool(asked.stream),
                )
                stream = lstm.stepper.submit(prompt)
                text = "".join(lstm.vocabulary[index] for index in tokens)
                echoed = stream.scored if tokens else []
                choices.append(
                    Choice(
                        len(choices),
                        lstm.vocabulary,
                        stops,
                        text,
                        echoed if asked.echo else None,
                        asked.logprobs is not None,
                    )  # fmt: skip
                )
                streams.append(stream)
        manifest = lstm.manifest
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

        await _within(deadline_s, drain())

    def _usage(self) -> dict[str, int]:
        return usage(self.prompt_tokens, sum(len(choice.tokens) for choice in self.choices))

    def body(self) -> dict[str, Any]:
        """The answer, once finished."""
        return self.envelope.body([choice.body() for choice in self.choices], self._usage())

    def headers(self) -> dict[str, str]:
        """Which version answers, and how long the first sequence waited, in milliseconds."""
        return {
            "x-model-version": self.version,
            "x-queue-time": f"{self.streams[0].queue_s * 1000:.3f}",
        }

    async def events(self, *, include_usage: bool) -> AsyncIterator[bytes]:
        """Server-sent events, as tokens come, ended by `[DONE]`."""
        echoes = {choice.index for choice in self.choices if choice.echoed is not None}
        async with aclosing(_merge(self.streams)) as merged:
            async for index, tokens, finish in merged:
                choice = self.choices[index]
                if index in echoes:
                    echoes.discard(index)
                    yield self._event([choice.echo_chunk()])
                shown = choice.push(tokens, finish)
                if shown or finish is not None:
                    yield self._event([choice.chunk(shown)])
        if include_usage:
            yield event(_encoder.encode(self.envelope.body([], self._usage())))
        yield event(b"[DONE]")

    def _event(self, choices: list[dict[str, Any]]) -> bytes:
        return event(_encoder.encode(self.envelope.body(choices)))


def _prompts(
    prompt: str | list[Any] | None, lstm: Lstm, settings: Settings
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
        if len(one) > settings.max_prompt_chars:
            raise TooLargeError(
                f"{field} has {len(one)} characters; the limit is {settings.max_prompt_chars}",
                field=field,
            )
        if isinstance(one, str):
            found.append(lstm.encode(one, field))
            continue
        if any(not 0 <= token < len(lstm.vocabulary) for token in one):
            raise InvalidInputError(
                f"{field} has a token outside 0 to {len(lstm.vocabulary) - 1}", field=field
            )
        found.append(tuple(one))
    return found


def _is_tokens(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, int) and not isinstance(item, bool) for item in value)
    )


async def _within(deadline_s: float, work: Any) -> Any:
    try:
        async with asyncio.timeout(deadline_s or None):
            return await work
    except TimeoutError:
        raise DeadlineExceededError(f"no answer within {deadline_s:g} s") from None


_Arrival = tuple[int, list[Token], FinishReason | None]


async def _merge(streams: Sequence[Stream]) -> AsyncIterator[_Arrival]:
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


async def _metered(
    first: bytes, events: AsyncIterator[bytes], meter: RequestMeter, stack: ExitStack
) -> AsyncIterator[bytes]:
    """Pass events on; count the request, and let go of the model, when they end."""
    with stack:
        try:
            yield first
            async for one in events:
                yield one
        except TriptychError as error:
            meter.fail(error)
            yield event(_encoder.encode(error_body(error)))
        except BaseException as error:
            meter.fail(error)
            raise
        else:
            meter.close("ok")
