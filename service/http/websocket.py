"""Completions over a WebSocket: `/v1/completions/stream`.

The client sends a completion request as one JSON message. The server sends the chunks that it
would stream over HTTP, each as one message, and then `{"done": true}`; or, as the last message of a
request that failed, `{"error": {...}}`. Then the next request may come. `{"cancel": true}` ends the
running one early, with `{"done": true, "cancelled": true}`; closing the connection ends it too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import ExitStack, aclosing
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from service.errors import BusyError, TooLargeError, TriptychError
from service.http.answers import error_body
from service.http.bodies import decode_json
from service.http.completions import CompletionRequest
from service.http.events import within
from service.http.exchange import stream_limit_s, timeout_s
from service.http.origins import check_origin, origins
from service.http.writing import Completion
from service.keys import charge_again
from service.metrics import Outcome, RequestMeter, outcome_of
from service.settings import Settings
from service.telemetry.trail import following, next_part

log = logging.getLogger("triptych.http")
ROUTE = "websocket"
"""What requests are counted under."""

Begin = Callable[[CompletionRequest, WebSocket, RequestMeter, ExitStack], Completion]
"""Starts what was asked for; the stack ends it and lets go of the model."""


class SocketRequest(CompletionRequest, kw_only=True, forbid_unknown_fields=True):
    """A completion request, which streams unless `stream` is false; or the end of the last one."""

    cancel: bool = False


_decoder = msgspec.json.Decoder(SocketRequest)
_encoder = msgspec.json.Encoder()


async def converse(socket: WebSocket, begin: Begin, settings: Settings) -> None:
    """Answer a client until it leaves; one that comes from another site's page is turned away."""
    try:
        check_origin(socket, origins(settings.cors_origins))
        timeout_s(socket, settings)
    except TriptychError as error:
        RequestMeter(ROUTE).fail(error)
        await _turn_away(socket, error)
        return
    await Conversation(socket, begin, settings).run()


async def _turn_away(socket: WebSocket, error: TriptychError) -> None:
    if "websocket.http.response" in socket.scope.get("extensions", {}):
        body = _encoder.encode(error_body(error))
        await socket.send_denial_response(
            Response(body, error.status, media_type="application/json")
        )
    else:
        await socket.close()


class Conversation:
    """One connection: requests one after another, at most one at a time."""

    def __init__(self, socket: WebSocket, begin: Begin, settings: Settings) -> None:
        self._socket = socket
        self._begin = begin
        self._settings = settings
        self._answering: asyncio.Task[None] | None = None
        self._last_said = True
        """Whether the running answer has nothing more to say."""

    async def run(self) -> None:
        """Listen until the client leaves; what it had asked for ends with it."""
        await self._socket.accept()
        try:
            while True:
                message = await self._socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                await self._hear(message.get("text") or message.get("bytes") or b"")
        except WebSocketDisconnect:  # it left while it was being told something
            return
        finally:
            if self._answering is not None:
                self._answering.cancel()
                await asyncio.wait([self._answering])

    async def _hear(self, raw: str | bytes) -> None:
        try:
            self._check_size(raw)
            asked = decode_json(raw, _decoder)
            if asked.cancel:
                await self._cancel()
                return
            if not self._last_said:
                raise BusyError("one completion at a time: the last one has not ended")
            charge_again()
        except TriptychError as error:
            with following(next_part()):
                RequestMeter(ROUTE).fail(error)
                await self._say(error_body(error))
            return
        self._last_said = False
        self._answering = asyncio.create_task(self._answer(asked))

    def _check_size(self, raw: str | bytes) -> None:
        limit = self._settings.max_body_bytes
        size = len(raw)
        if isinstance(raw, str) and size <= limit < 4 * size:  # UTF-8 has at most 4 each
            size = len(raw.encode())
        if size > limit:
            raise TooLargeError(
                f"the message is larger than the limit of {limit} bytes", field="body"
            )

    async def _cancel(self) -> None:
        if self._answering is None or self._last_said:
            return  # it ended while the word was on its way
        self._answering.cancel()
        await asyncio.wait([self._answering])
        if not self._last_said:
            self._last_said = True
            await self._say({"done": True, "cancelled": True})

    async def _answer(self, asked: CompletionRequest) -> None:
        with following(next_part()):
            await self._answer_one(asked)

    async def _answer_one(self, asked: CompletionRequest) -> None:
        meter = RequestMeter(ROUTE)
        outcome: Outcome = "cancelled"
        try:
            await self._write(asked, meter)
            outcome, last = "ok", {"done": True}
        except WebSocketDisconnect:
            return
        except Exception as error:
            outcome, last = outcome_of(error), error_body(_planned(error))
        finally:
            meter.close(outcome)
        self._last_said = True
        try:
            await self._say(last)
        except WebSocketDisconnect:
            return

    async def _write(self, asked: CompletionRequest, meter: RequestMeter) -> None:
        deadline_s = timeout_s(self._socket, self._settings)
        whole = asked.stream is False
        asked.stream = not whole
        with ExitStack() as stack:
            job = self._begin(asked, self._socket, meter, stack)
            if whole:
                await job.finish(deadline_s)
                await self._say(job.body())
                return
            async with aclosing(job.chunks(include_usage=asked.include_usage)) as chunks:
                await self._send(await within(deadline_s, anext(chunks)))
                meter.began_to_stream()
                limit_s = stream_limit_s(self._socket, self._settings)

                async def rest() -> None:
                    async for chunk in chunks:
                        await self._send(chunk)

                await within(limit_s, rest())

    async def _say(self, content: dict[str, Any]) -> None:
        await self._send(_encoder.encode(content))

    async def _send(self, json: bytes) -> None:
        await self._socket.send_text(json.decode())


def _planned(error: Exception) -> TriptychError:
    if isinstance(error, TriptychError):
        return error
    log.error("a completion over a WebSocket failed", exc_info=error)
    return TriptychError("the service failed; the request was not at fault")
