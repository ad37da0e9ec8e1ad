"""`Client`: each method sends its request and returns its answer."""

from __future__ import annotations

import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event
from typing import Concatenate, ParamSpec, Self, TypeVar

import httpx

from triptych.client import batches, calls
from triptych.client.batches import Batches
from triptych.client.call import Call, Reply
from triptych.client.configured import Configured
from triptych.client.errors import DeadlineExceededError, TriptychClientError
from triptych.client.events import Reader
from triptych.client.exchange import Send, Steps, answered, attempts
from triptych.client.methods import method_of
from triptych.client.progress import Bar, bar
from triptych.client.streams import Opened, TextStream
from triptych.client.wire import limits, no_first_bytes, reply_of, request_of, translated

P = ParamSpec("P")
T = TypeVar("T")


def _answering(build: Callable[P, Call[T]]) -> Callable[Concatenate[Client, P], T]:
    @method_of(build, "{}")
    def method(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return client._run(answered(build(*args, **kwargs), client._options))

    return method


def _streaming(build: Callable[P, Call[Reader]]) -> Callable[Concatenate[Client, P], TextStream]:
    @method_of(build, "TextStream")
    def method(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> TextStream:
        return TextStream(build(*args, **kwargs), client._options, client._open)

    return method


def _batching(build: Callable[P, Batches[T]]) -> Callable[Concatenate[Client, P], Iterator[T]]:
    @method_of(build, "Iterator[{}]")
    def method(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return client._spread(build(*args, **kwargs))

    return method


class Client(Configured):
    """A client of a Triptych service. Threads may share it; it keeps its connections.

    Args:
        base_url: the server's address; None: `TRIPTYCH_URL`, or http://127.0.0.1:3000.
        api_key: sent as `Authorization: Bearer`; None: `TRIPTYCH_API_KEY`, or none.
        timeout_s: the time for a call with all its attempts and the waits between them.
        max_retries: attempts after the first: at connections that fail or break before an answer,
            429, 502, 503 and 504. Requests change nothing on the server, so they may be repeated.
        backoff: how long to wait before the next attempt where no Retry-After says it.
        max_connections: the most at once.
        verify: False, or a context of its own, for a server's TLS certificate.

    Raises InvalidInputError for an argument that is none.
    """

    def _connect(self, verify: ssl.SSLContext | bool) -> None:
        self._http = httpx.Client(
            base_url=self._options.base_url, limits=limits(self._options), verify=verify
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    classify = _answering(calls.classify)
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

    def _run(self, steps: Steps[T], stopped: Event | None = None) -> T:
        """Do what the steps ask for; returns their result.

        Raises CancelledError where it would wait and `stopped` is set.
        """
        stopped = stopped or Event()
        try:
            step = next(steps)
            while True:
                if not isinstance(step, Send):
                    if stopped.wait(step.wait_s):
                        raise CancelledError
                    step = steps.send(None)
                    continue
                try:
                    reply = self._send(step)
                except TriptychClientError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(reply)
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _send(self, send: Send) -> Reply:
        end_s = time.monotonic() + send.timeout_s
        with translated(send.timeout_s, self._options.base_url), ExitStack() as held:
            response = self._http.send(request_of(self._http, send), stream=True)
            held.callback(response.close)
            received = response.iter_bytes()
            if send.streams and response.is_success:
                if not (first := next(received, b"")):
                    raise no_first_bytes(self._options.base_url)
                held.pop_all()
                return reply_of(response, first, Opened(response, first, received))
            parts: list[bytes] = []
            for part in received:
                parts.append(part)
                if time.monotonic() > end_s:
                    raise DeadlineExceededError(f"no answer within {send.timeout_s:.3g} s")
        return reply_of(response, b"".join(parts))

    def _open(self, call: Call[Reader]) -> Opened:
        """Send a call whose answer is a stream, until its first bytes are there."""
        opened: Opened = self._run(attempts(call, self._options, streams=True)).opened
        return opened

    def _spread(self, plan: Batches[T]) -> Iterator[T]:
        """Do the work on threads, and give its results in order."""
        waiting: deque[Future[Sequence[T]]] = deque()
        stopped = Event()
        shown = bar(plan.progress, plan.total, "image")
        pool = ThreadPoolExecutor(plan.concurrency, thread_name_prefix="triptych")
        try:
            for work in plan.work:
                waiting.append(pool.submit(self._run, work.steps(self._options), stopped))
                if len(waiting) == plan.concurrency:
                    yield from self._finished(waiting, shown)
            while waiting:
                yield from self._finished(waiting, shown)
        finally:
            shown.close()
            stopped.set()
            pool.shutdown(cancel_futures=True)

    @staticmethod
    def _finished(waiting: deque[Future[Sequence[T]]], shown: Bar) -> Sequence[T]:
        results = waiting.popleft().result()
        shown.update(len(results))
        return results
