"""LSTM: text in, more text out. OpenAI's `POST /v1/completions` and the endpoint `generate`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from typing_extensions import TypedDict

from service.answer import Answer
from service.contract import Manifest
from service.errors import UpgradeRequiredError
from service.http.answers import error_answer, json_answer
from service.http.bodies import convert, read_json
from service.http.completions import CompletionRequest
from service.http.events import stream_events
from service.http.exchange import (
    abandoned_on_disconnect,
    caller,
    framed,
    priority_of,
    stream_limit_s,
    timeout_s,
)
from service.http.texts import COMPLETIONS, DETOKENIZE, TOKENIZE, TOKENIZER_INFO, WEBSOCKET
from service.http.tokenizing import tokenizer_routes
from service.http.websocket import converse
from service.http.writing import Completion
from service.kinds.base import Bench, Kind, check_count, fixed_axes
from service.loading import LoadedModel
from service.metrics import RequestMeter
from service.request_key import APART
from service.session import Session
from service.settings import Settings
from service.stepper import Stepper
from service.vocabulary import Vocabulary
from service.waiting import PRIORITIES, USUAL, Arrays

if TYPE_CHECKING:
    from service.runtime import Runtime

_SHOWN_CHARS = 256  # of a prompt, to who compares versions

_decoder = msgspec.json.Decoder(CompletionRequest)


class Continuation(TypedDict):
    """A text and why it ended: `stop` or `length`. The same seed writes it again."""

    model: str
    version: str
    seed: int
    text: str
    finish_reason: str


class _Recurrence:
    """A session as what the stepper steps."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def run(
        self, token_NT: NDArray[np.int64], state_NS: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        outputs = self._session.run({"token": token_NT, "state": state_NS})
        return outputs["logits"], outputs["state_out"]

    def bind(
        self,
        token_N1: NDArray[np.int64],
        state_NS: NDArray[np.float32],
        logits_N1V: NDArray[np.float32],
        state_out_NS: NDArray[np.float32],
    ) -> Callable[[], None]:
        return self._session.bind(
            {"token": token_N1, "state": state_NS},
            {"logits": logits_N1V, "state_out": state_out_NS},
        )


class Lstm(Kind):
    """A character model: `token` [N, T], `state` [N, S] -> `logits` [N, T, V], `state_out`."""

    name = "lstm"
    inputs: ClassVar = {"token": "int64", "state": "float32"}
    outputs: ClassVar = {"logits": "float32", "state_out": "float32"}
    compared = "logits"
    least_agreement = 0.5  # at many places several characters are as likely
    operations: ClassVar = {
        "POST /v1/completions": COMPLETIONS,
        "GET /v1/completions/stream": WEBSOCKET,
        "POST /v1/tokenize": TOKENIZE,
        "POST /v1/detokenize": DETOKENIZE,
        "POST /tokenize": TOKENIZE,
        "POST /detokenize": DETOKENIZE,
        "GET /tokenizer_info": TOKENIZER_INFO,
    }

    def __init__(self, model: LoadedModel, bench: Bench) -> None:
        super().__init__(model, bench)
        self.vocabulary = Vocabulary(model.manifest.vocabulary)
        (state_width,) = fixed_axes(model.manifest.input("state"), 1)
        self._state_width = state_width
        self.stepper = Stepper(
            _Recurrence(model.session),
            state_width=state_width,
            vocabulary=len(self.vocabulary),
            metrics=bench.metrics,
            max_batch_rows=bench.settings.max_batch_rows,
            max_queue_rows=bench.settings.max_queue_rows,
            max_queue_s=bench.settings.max_queue_ms / 1000,
            stream_interval_s=bench.settings.stream_interval_ms / 1000,
            cache=bench.cache,
            digest=model.manifest.graph_sha256,
        )

    @classmethod
    def check(cls, manifest: Manifest) -> None:
        """As `Kind.check`; every token has a character."""
        super().check(manifest)
        (tokens,) = fixed_axes(manifest.output("logits"), 2)
        check_count(manifest, "characters in the vocabulary", manifest.vocabulary, tokens)

    def close(self) -> None:
        """Stop the stepper's thread."""
        self.stepper.close()

    def begin(
        self, asked: CompletionRequest, settings: Settings, *, priority: int = USUAL
    ) -> Completion:
        """Queue a request's sequences; raises as `Completion.begin`."""
        job = Completion.begin(
            self.manifest, self.vocabulary, self.stepper, asked, settings, priority=priority
        )
        if self.batcher.witness is not None and not APART.get():
            self._show(job.choices[0].prompt)
        return job

    def _show(self, prompt: str) -> None:
        """Run a prompt once in one piece, for who compares versions: texts that were drawn go
        apart after their first difference, what is expected at each character of a prompt does not.
        """
        token_T = self.vocabulary.encode(prompt[-_SHOWN_CHARS:]) or (self.vocabulary.first_token,)
        inputs: Arrays = {
            "token": np.array([token_T], np.int64),
            "state": np.zeros((1, self._state_width), np.float32),
        }
        task = asyncio.ensure_future(
            self.batcher.submit(inputs, ("logits",), timeout_s=10.0, priority=max(PRIORITIES))
        )
        task.add_done_callback(_shown)

    @staticmethod
    def compare(candidate: NDArray[Any], incumbent: NDArray[Any]) -> tuple[float, float, float]:
        """The same likeliest next character; its probability."""
        alike = candidate.argmax(axis=-1) == incumbent.argmax(axis=-1)
        return float(alike.mean()), _surety(candidate), _surety(incumbent)

    @classmethod
    def routes(cls, runtime: Runtime) -> Sequence[Route | WebSocketRoute]:
        """`/v1/completions`, also over a WebSocket; `/v1/tokenize`, `/v1/detokenize`."""
        settings = runtime.settings
        max_bytes = settings.max_body_bytes

        def begin(
            asked: CompletionRequest,
            connection: HTTPConnection,
            meter: RequestMeter,
            stack: ExitStack,
        ) -> Completion:
            asked.refuse_unsupported()
            lstm = stack.enter_context(runtime.registry.lease(cls, asked.model))
            meter.model = lstm.manifest.name
            job = lstm.begin(asked, settings, priority=priority_of(connection))
            stack.callback(job.cancel)
            stack.callback(runtime.feedback.offer, meter, lstm.manifest, job.observed)
            return job

        async def completions(request: Request, meter: RequestMeter) -> Response:
            asked = await read_json(request, _decoder, max_bytes=max_bytes)
            deadline_s = timeout_s(request, settings)
            with ExitStack() as stack:
                job = begin(asked, request, meter, stack)
                if not asked.stream:
                    async with abandoned_on_disconnect(request):
                        await job.finish(deadline_s)
                    return json_answer(job.body(), headers=job.headers())
                events = job.events(include_usage=asked.include_usage)
                return await stream_events(
                    events,
                    meter,
                    stack,
                    job.headers,
                    deadline_s=deadline_s,
                    limit_s=stream_limit_s(request, settings),
                )

        async def over_websocket(socket: WebSocket) -> None:
            await converse(socket, begin, settings)

        async def without_websocket(_: Request, __: RequestMeter) -> Response:
            raise UpgradeRequiredError("open a WebSocket here, or post to /v1/completions")

        return [
            Route("/v1/completions", framed("completions", completions), methods=["POST"]),
            WebSocketRoute("/v1/completions/stream", over_websocket),
            Route("/v1/completions/stream", framed("websocket", without_websocket)),
            *tokenizer_routes(
                lambda name: runtime.registry.lease(cls, name), runtime.decoders, settings
            ),
        ]

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
                asking = caller(runtime.settings)
                asked = convert(fields, CompletionRequest)
                with runtime.registry.lease(cls, model or None) as lstm:
                    meter.model = lstm.manifest.name
                    job = lstm.begin(asked, runtime.settings, priority=asking.priority)
                    try:
                        await job.finish(asking.timeout_s)
                        runtime.feedback.offer(meter, lstm.manifest, job.observed)
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
            except BaseException as error:
                meter.fail(error)
                if not isinstance(error, Exception):  # the client left
                    raise
                return error_answer(error)  # type: ignore[return-value]  # sent as it is

        return generate


def _shown(task: asyncio.Future[Answer]) -> None:
    """Nobody waits for it: what it failed with is nobody's."""
    if not task.cancelled():
        task.exception()


def _surety(logits: NDArray[Any]) -> float:
    """Mean probability of the likeliest character."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return float((1 / shifted.sum(axis=-1)).mean())


KIND = Lstm
