"""Triton's generate extension: `text_input` in, `text_output` out, whole or as events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, aclosing
from typing import Annotated, Any, Protocol, runtime_checkable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from service.errors import InvalidInputError, TriptychError
from service.http.answers import json_answer
from service.http.bodies import convert, read_json
from service.http.completions import CompletionRequest, event
from service.http.events import stream_events
from service.http.exchange import abandoned_on_disconnect, priority_of, stream_limit_s, timeout_s
from service.http.writing import Completion
from service.kinds.base import Kind
from service.lease import Lease
from service.metrics import RequestMeter
from service.settings import Settings
from service.waiting import PRIORITIES

_encoder = msgspec.json.Encoder()


@runtime_checkable
class Writer(Protocol):
    """A kind that writes text."""

    def begin(self, asked: CompletionRequest, settings: Settings, *, priority: int) -> Completion:
        """Queue a request's sequences."""


class _Parameters(msgspec.Struct, forbid_unknown_fields=True):
    """As in OpenAI's completions, which check them; null is the default. And Triton's priority."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    priority: Annotated[int, msgspec.Meta(ge=0, le=max(PRIORITIES))] | None = None


class _Request(_Parameters, kw_only=True, forbid_unknown_fields=True):
    """Parameters may also stand beside `parameters`, which goes first."""

    text_input: str
    id: str | None = None
    parameters: _Parameters | None = None

    def asked(self) -> dict[str, Any]:
        """Every parameter that is given."""
        given = {name: getattr(self, name) for name in _Parameters.__struct_fields__}
        nested = msgspec.structs.asdict(self.parameters) if self.parameters else {}
        given |= {name: value for name, value in nested.items() if value is not None}
        return given


_decoder = msgspec.json.Decoder(_Request)


async def generate(
    request: Request,
    meter: RequestMeter,
    lease: Lease[Kind],
    settings: Settings,
    *,
    stream: bool,
) -> Response:
    """Continue a text; raises InvalidInputError if the model writes none."""
    with ExitStack() as stack:
        engine = stack.enter_context(lease)
        meter.model = engine.manifest.name
        if not isinstance(engine, Writer):
            raise InvalidInputError(f"{engine.manifest.name} does not write text", field="model")
        asked = await read_json(request, _decoder, max_bytes=settings.max_body_bytes)
        deadline_s = timeout_s(request, settings)
        fields = asked.asked()
        if fields["stream"] and not stream:
            raise InvalidInputError(
                "stream is true: post to generate_stream to have events", field="stream"
            )
        priority = fields.pop("priority") or priority_of(request)
        fields |= {"prompt": asked.text_input, "stream": stream}
        job = engine.begin(convert(fields, CompletionRequest), settings, priority=priority)
        stack.callback(job.cancel)
        head = {"model_name": engine.manifest.name, "model_version": engine.manifest.version}
        if asked.id:
            head["id"] = asked.id
        if not stream:
            async with abandoned_on_disconnect(request):
                await job.finish(deadline_s)
            text = job.body()["choices"][0]["text"]
            return json_answer(head | {"text_output": text}, headers=job.headers())
        return await stream_events(
            _events(job, head),
            meter,
            stack,
            job.headers,
            deadline_s=deadline_s,
            limit_s=stream_limit_s(request, settings),
            error_body=_error_body,
        )


async def _events(job: Completion, head: dict[str, str]) -> AsyncIterator[bytes]:
    """The completion's pieces, as this protocol words them."""
    async with aclosing(job.pieces()) as pieces:
        async for piece in pieces:
            yield event(_encoder.encode(head | {"text_output": piece["text"]}))


def _error_body(error: TriptychError) -> dict[str, Any]:
    return {"error": error.message}
