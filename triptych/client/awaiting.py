"""`AsyncClient`: as `Client`, to be awaited."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Concatenate, ParamSpec, Self, TypeVar

import httpx

from triptych.client import batches, calls
from triptych.client.batches import Batches
from triptych.client.call import Call, Reply
from triptych.client.configured import Configured
from triptych.client.errors import TriptychClientError
from triptych.client.events import Reader
from triptych.client.exchange import Send, Steps, answered, attempts
from triptych.client.methods import method_of
from triptych.client.progress import bar
from triptych.client.streams import AsyncOpened, AsyncTextStream
from triptych.client.wire import limits, no_first_bytes, reply_of, request_of, translated

P = ParamSpec("P")
T = TypeVar("T")


def _answering(
    build: Callable[P, Call[T]], *, reads: bool = False
) -> Callable[Concatenate[AsyncClient, P], Awaitable[T]]:
    """A method; where making the call `reads` files, that is done on a thread."""

    @method_of(build, "Awaitable[{}]")
    async def method(client: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if reads:
            call = await asyncio.to_thread(build, *args, **kwargs)
        else:
            call = build(*args, **kwargs)
        return await client._run(answered(call, client._options))

    return method


def _streaming(
    build: Callable[P, Call[Reader]],
) -> Callable[Concatenate[AsyncClient, P], AsyncTextStream]:
    @method_of(build, "AsyncTextStream")
    def method(client: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncTextStream:
        return AsyncTextStream(build(*args, **kwargs), client._options, client._open)

    return method


def _batching(
    build: Callable[P, Batches[T]],
) -> Callable[Concatenate[AsyncClient, P], AsyncIterator[T]]:
    @method_of(build, "AsyncIterator[{}]")
    def method(client: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        return client._spread(build(*args, **kwargs))

    return method


class AsyncClient(Configured):
    """A client of a Triptych service for asyncio. Tasks may share it.

    Arguments, methods and errors are those of `Client`; methods are awaited, and what `stream`,
    `classify_many` and `classify_each` return is iterated over with `async for`.
    """

    def _connect(self, verify: ssl.SSLContext | bool) -> None:
        self._http = httpx.AsyncClient(
            base_url=self._options.base_url, limits=limits(self._options), verify=verify
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    classify = _answering(calls.classify, reads=True)
    generate = _answering(calls.generate)
    tokenize = _answering(calls.tokenize)
    detokenize = _answering(calls.detokenize)
    sample = _answering(calls.sample)
    grid = _answering(calls.grid)
    models = _answering(calls.models)
    ready = _answering(calls.ready)
    infer = _answering(calls.infer)
    stream = _streaming(calls.stream)
    classify_many = _batching(batches.classify_many)
    classify_each = _batching(batches.classify_each)

    async def _run(self, steps: Steps[T]) -> T:
        """Do what the steps ask for; returns their result."""
        try:
            step = next(steps)
            while True:
                if not isinstance(step, Send):
                    await asyncio.sleep(step.wait_s)
                    step = steps.send(None)
                    continue
                try:
                    reply = await self._send(step)
                except TriptychClientError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(reply)
        except StopIteration as stop:
            result: T = stop.value
            return result

    async def _send(self, send: Send) -> Reply:
        with translated(send.timeout_s, self._options.base_url):
            async with asyncio.timeout(send.timeout_s), AsyncExitStack() as held:
                response = await self._http.send(request_of(self._http, send), stream=True)
                held.push_async_callback(response.aclose)
                received = response.aiter_bytes()
                if send.streams and response.is_success:
                    if not (first := await anext(received, b"")):
                        raise no_first_bytes(self._options.base_url)
                    held.pop_all()
                    return reply_of(response, first, AsyncOpened(response, first, received))
                body = b"".join([part async for part in received])
        return reply_of(response, body)

    async def _open(self, call: Call[Reader]) -> AsyncOpened:
        """Send a call whose answer is a stream, until its first bytes are there."""
        reply = await self._run(attempts(call, self._options, streams=True))
        opened: AsyncOpened = reply.opened
        return opened

    async def _spread(self, plan: Batches[T]) -> AsyncIterator[T]:
        """Do the work in tasks, and give its results in order."""
        waiting: deque[asyncio.Task[Sequence[T]]] = deque()
        shown = bar(plan.progress, plan.total, "image")
        more = True
        try:
            while more or waiting:
                # On a thread: making a batch reads files.
                work = await asyncio.to_thread(next, plan.work, None) if more else None
                more = work is not None
                if work is not None:
                    run = self._run(work.steps(self._options))
                    waiting.append(asyncio.create_task(run))
                if waiting and (not more or len(waiting) == plan.concurrency):
                    results = await waiting[0]
                    waiting.popleft()
                    shown.update(len(results))
                    for one in results:
                        yield one
        finally:
            shown.close()
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
