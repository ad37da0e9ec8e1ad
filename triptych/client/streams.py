"""A completion as it is written: an iterator of chunks, blocking or awaiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import NamedTuple, Self

import httpx

from triptych.client.answers import Chunk, Usage
from triptych.client.call import Call
from triptych.client.errors import DeadlineExceededError, InvalidInputError
from triptych.client.events import Reader
from triptych.client.exchange import Options
from triptych.client.wire import translated


class Opened(NamedTuple):
    """A stream whose first bytes have come; the others are `received`."""

    response: httpx.Response
    first: bytes
    received: Iterator[bytes]


class AsyncOpened(NamedTuple):
    """As `Opened`."""

    response: httpx.Response
    first: bytes
    received: AsyncIterator[bytes]


class _Stream:
    """What both kinds have in common: all but the waiting."""

    def __init__(self, call: Call[Reader], options: Options) -> None:
        self._call = call
        self._options = options
        self._reader = Reader()
        self._limit_s = call.options.get("timeout_s")
        self._end_s = 0.0
        self._response: httpx.Response | None = None
        self._started = self._over = False

    @property
    def id(self) -> str:
        """The completion's; it and the others are there from the first chunk on."""
        return self._reader.id

    @property
    def model(self) -> str:
        """The model that writes."""
        return self._reader.model

    @property
    def version(self) -> str:
        """Its version."""
        return self._reader.version

    @property
    def seed(self) -> int | None:
        """The same one writes the same text."""
        return self._reader.seed

    @property
    def usage(self) -> Usage | None:
        """Tokens read and written, once the stream has ended."""
        return self._reader.usage

    def _start(self) -> None:
        if self._started:
            raise InvalidInputError("a stream is read once; ask for another", param="stream")
        self._started = True
        if self._limit_s is not None:
            self._end_s = time.monotonic() + self._limit_s

    def _begun(self, opened: Opened | AsyncOpened) -> None:
        self._response = opened.response
        self._reader.feed(opened.first)

    def _next(self) -> Chunk | None:
        """The next chunk that is there; None if bytes must come first, or the stream is over."""
        chunk = None if self._over else self._reader.next()
        self._over = self._over or (chunk is None and self._reader.done)
        return chunk

    def _left_s(self) -> float:
        """How long the next bytes may take."""
        if self._limit_s is None:
            return self._options.timeout_s
        left_s = self._end_s - time.monotonic()
        if left_s <= 0:
            raise DeadlineExceededError(f"no end within {self._limit_s:g} s")
        return left_s


class TextStream(_Stream):
    """Chunks of a text as they are written.

    Iterate over it. `with` it, the connection is closed, and the text ended on the server, when the
    block is left; without, when the last chunk has come, or at an error.
    """

    def __init__(
        self, call: Call[Reader], options: Options, open_: Callable[[Call[Reader]], Opened]
    ) -> None:
        super().__init__(call, options)
        self._open = open_

    def __enter__(self) -> Self:
        self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        if not self._started:
            self._begin()
        try:
            while (chunk := self._next()) is None and not self._over:
                left_s = self._left_s()
                with translated(left_s, self._options.base_url, begun=True):
                    received = next(self._bytes, b"")
                self._reader.feed(received)
        except BaseException:
            self.close()
            raise
        if chunk is None:
            self.close()
            raise StopIteration
        return chunk

    def text(self) -> str:
        """All that is still to come, of all choices, in the order of its coming."""
        return "".join(chunk.text for chunk in self)

    def close(self) -> None:
        """End the stream; the server ends its text. Closing twice does nothing."""
        self._over = True
        if self._response is not None:
            self._response.close()

    def _begin(self) -> None:
        self._start()
        opened = self._open(self._call)
        self._bytes = opened.received
        self._begun(opened)


class AsyncTextStream(_Stream):
    """As `TextStream`, with `async with` and `async for`."""

    def __init__(
        self,
        call: Call[Reader],
        options: Options,
        open_: Callable[[Call[Reader]], Awaitable[AsyncOpened]],
    ) -> None:
        super().__init__(call, options)
        self._open = open_

    async def __aenter__(self) -> Self:
        await self._begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        if not self._started:
            await self._begin()
        try:
            while (chunk := self._next()) is None and not self._over:
                left_s = self._left_s()
                with translated(left_s, self._options.base_url, begun=True):
                    async with asyncio.timeout(left_s):
                        received = await anext(self._bytes, b"")
                self._reader.feed(received)
        except BaseException:
            await self.close()
            raise
        if chunk is None:
            await self.close()
            raise StopAsyncIteration
        return chunk

    async def text(self) -> str:
        """All that is still to come, of all choices, in the order of its coming."""
        return "".join([chunk.text async for chunk in self])

    async def close(self) -> None:
        """End the stream; the server ends its text. Closing twice does nothing."""
        self._over = True
        if self._response is not None:
            await self._response.aclose()

    async def _begin(self) -> None:
        self._start()
        opened = await self._open(self._call)
        self._bytes = opened.received
        self._begun(opened)
