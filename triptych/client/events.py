"""A streamed completion, from bytes as they come to chunks; it reads no network itself."""

from __future__ import annotations

from collections import deque

import msgspec

from triptych.client.answers import Chunk, Usage
from triptych.client.errors import (
    StreamBrokenError,
    TriptychClientError,
    UnexpectedAnswerError,
    of_event,
)

_DONE = b"[DONE]"


class _Event(msgspec.Struct):
    id: str = ""
    model: str = ""
    version: str = ""
    seed: int | None = None
    choices: list[Chunk] = []
    usage: Usage | None = None
    error: msgspec.Raw = msgspec.Raw()


_decoder = msgspec.json.Decoder(_Event)


class Reader:
    """Server-sent events (WHATWG HTML, section 9.2) of one completion.

    `id`, `model`, `version` and `seed` are there from the first chunk on, `usage` after the last;
    `done` is true once the server has said that this is the end.
    """

    def __init__(self) -> None:
        self.id = self.model = self.version = ""
        self.seed: int | None = None
        self.usage: Usage | None = None
        self.done = False
        self._chunks: deque[Chunk] = deque()
        self._rest = b""
        self._data: list[bytes] = []
        self._failure: TriptychClientError | None = None

    def next(self) -> Chunk | None:
        """The next chunk that has come in whole; None if more bytes are needed, or it is `done`.

        Raises:
            UnexpectedAnswerError: after the chunks came an event that is none.
            TriptychClientError: after them the server said that it failed.

        """
        if self._chunks:
            return self._chunks.popleft()
        if self._failure is not None:
            raise self._failure
        return None

    def feed(self, received: bytes) -> None:
        """Take bytes; none at all mean that the connection has ended.

        Raises StreamBrokenError if it ended before the stream did.
        """
        if not received:
            raise StreamBrokenError("the connection ended before the stream did")
        *lines, self._rest = (self._rest + received).split(b"\n")
        for line in lines:
            self._line(line.removesuffix(b"\r"))

    def _line(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
        elif not line and self._data:
            data, self._data = b"\n".join(self._data), []
            self._event(data)

    def _event(self, data: bytes) -> None:
        if data == _DONE:
            self.done = True
            return
        try:
            event = _decoder.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            words = f"an event of the stream is no chunk: {error}"
            self._failure = UnexpectedAnswerError(words)
            return
        if memoryview(event.error):
            self._failure = of_event(data)
            return
        self.id, self.model, self.version = event.id, event.model, event.version
        self.seed = event.seed
        self.usage = event.usage or self.usage
        self._chunks.extend(event.choices)
