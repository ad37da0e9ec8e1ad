"""Continuous batching for text: sequences join and leave the running batch at any step.

One thread per loaded model turns the crank: let newcomers in, read their prompts in chunks, step
every running sequence by one token, hand new tokens to the event loop. A sequence's answer
depends on its own prompt, parameters and seed alone: the recurrent state is one row, prompts are
cut the same way whoever else is there, and each row draws from its own random sequence.

(Orca, Yu et al. 2022, calls this iteration-level scheduling.)
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from bisect import insort_right
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from service.admission import Admission
from service.block import Block, Ended, Graph
from service.cache import Cache
from service.errors import NotReadyError
from service.libc import give_way
from service.metrics import ModelMetrics
from service.reading import Reader, Readers
from service.sequences import FinishReason, Prompt, Stream, Token, Written
from service.telemetry.trail import TRAIL

_PACE_KEPT = 0.95  # of the pace, after each step that ended sequences: twenty are remembered
_PREFILL_POSITIONS = 256  # prompt positions read between two steps of the running sequences

_GATHER_STEPS = 8
_GATHER_SHARE = 1 / 8
"""Where more wait than there are places, those who may join do so together: once this share of the
places is free, or after so many steps; and what came meanwhile is handed over together. To read one
prompt takes about as long as a step of all, and so does waking the loop; texts that end one by one
would be followed by prompts that are read one by one, and a loaded service wrote a third less."""

_Event = tuple[Stream, list[Token], FinishReason | Exception | None]


class Stepper:
    """The text engine of one loaded model.

    Args:
        graph: what is stepped; used on the stepper's thread.
        state_width: S.
        vocabulary: V.
        metrics: the model's series.
        max_batch_rows: most sequences stepped together.
        max_queue_rows: most sequences waiting to join.
        max_queue_s: longest estimated wait to join; 0: bounded by sequences alone.
        stream_interval_s: a streaming client gets its first character at once, and then what has
            come together in this time; 0: after every step.
        cache: of whole sequences.
        digest: of the graph; part of a cached sequence's key.

    """

    def __init__(
        self,
        graph: Graph,
        *,
        state_width: int,
        vocabulary: int,
        metrics: ModelMetrics,
        max_batch_rows: int,
        max_queue_rows: int,
        max_queue_s: float = 0.0,
        stream_interval_s: float = 0.0,
        cache: Cache | None = None,
        digest: str = "",
    ) -> None:
        self._metrics = metrics
        self._count_run = partial(_count_run, metrics)
        self._max_batch_rows = max_batch_rows
        self._admission = Admission(max_queue_rows, max_queue_s, noun="sequences", kept=_PACE_KEPT)
        self._stream_interval_s = stream_interval_s
        self._cache = cache or Cache(0)
        self._digest = digest
        self._arrivals: queue.SimpleQueue[Stream | None] = queue.SimpleQueue()
        self._submitted = 0  # written on the loop
        self._taken = 0  # written on the thread
        self._told_taken = 0  # written on the loop
        self._closing = False
        self._cancel_seen = False
        self._waiting: list[Stream] = []  # the most urgent first
        self._readers = Readers(graph, state_width=state_width, on_run=self._count_run)
        self._block = Block(
            graph, state_width=state_width, vocabulary=vocabulary, capacity=max_batch_rows
        )
        self._since_joined = 0  # steps
        self._gathering = False
        self._deliver_at_s = 0.0
        self._events: list[_Event] = []
        self._thread = threading.Thread(target=self._turn, name="stepper", daemon=True)
        self._thread.start()

    @property
    def queued_rows(self) -> int:
        """Sequences that wait to join."""
        return self._submitted - self._taken

    def admit(self, rows: int) -> None:
        """Raise TooLargeError or OverloadedError unless `rows` more sequences may wait."""
        self._admission.check(rows, self.queued_rows)

    def submit(self, prompt: Prompt) -> Stream:
        """Queue a sequence; its tokens come through the stream.

        Raises OverloadedError if there is no room; `admit` has looked at the wait before.
        """
        if self._closing:
            raise NotReadyError("the model is being closed")
        stream = Stream(prompt, asyncio.get_running_loop(), time.perf_counter())
        trail = TRAIL.get()
        if trail is not None:
            trail.join_sequence(streamed=prompt.stream)
            stream.trail = trail
        if self._cache.on and prompt.repeatable:
            key = (self._digest, prompt.key)
            kept: Written | None = self._cache.get(key)
            if kept is not None:
                self._metrics.hit()
                stream.scored = kept.scored
                stream.deliver(kept.tokens, kept.finish_reason)
                return stream
            stream.on_end = lambda written: self._cache.put(key, written, written.bytes)
        self._admission.check_room(1, self.queued_rows)
        stream.on_cancel = self._see_cancel
        self._submitted += 1
        self._metrics.add_waiting(1)
        self._arrivals.put(stream)
        return stream

    def _see_cancel(self) -> None:
        self._cancel_seen = True

    def close(self) -> None:
        """Finish what was submitted, then stop the thread; blocks until then."""
        self._closing = True
        self._arrivals.put(None)
        self._thread.join()

    # --- the thread -----------------------------------------------------------------------

    def _turn(self) -> None:
        open_ = True
        while open_ or self._waiting or self._readers or self._block.rows:
            open_ = self._let_in(open_)
            if self._cancel_seen:
                self._drop_cancelled()
            try:
                if self._readers:
                    self._read_prompts()
                if self._block.rows:
                    self._step()
            except Exception as error:  # nobody may wait for ever for a thread that is gone
                self._fail_all(error)
            if self._gathering and self._block.rows:
                give_way()
            else:
                self._flush()

    def _let_in(self, open_: bool) -> bool:
        """Take what has arrived; sleep while there is nothing to do."""
        idle = not (self._waiting or self._readers or self._block.rows)
        while open_ and (idle or not self._arrivals.empty()):
            stream = self._arrivals.get()
            idle = False
            if stream is None:
                open_ = False
            else:
                insort_right(self._waiting, stream, key=lambda waiting: waiting.prompt.priority)
        free = self._max_batch_rows - len(self._readers) - len(self._block.rows)
        few = free < min(len(self._waiting), _GATHER_SHARE * self._max_batch_rows)
        self._gathering = few and self._since_joined < _GATHER_STEPS
        if not self._waiting or self._gathering:
            return open_
        self._since_joined = 0
        for stream in self._waiting[:free]:
            self._taken += 1
            stream.queue_s = time.perf_counter() - stream.submitted_s
            stream.together = 1 + len(self._readers) + len(self._block.rows)
            self._metrics.queue_seconds.observe(stream.queue_s)
            _call(stream.loop, self._tell_taken)
            self._readers.add(stream)
        del self._waiting[:free]
        return open_

    def _tell_taken(self) -> None:
        """On the loop: bring the metric up to date."""
        taken = self._taken
        self._metrics.add_waiting(self._told_taken - taken)
        self._told_taken = taken

    def _drop_cancelled(self) -> None:
        self._cancel_seen = False
        for stream in [stream for stream in self._waiting if stream.cancelled]:
            self._waiting.remove(stream)
            self._taken += 1
            _call(stream.loop, self._tell_taken)
        self._readers.drop_cancelled()
        rows = self._block.rows
        self._block.leave([place for place, row in enumerate(rows) if row.stream.cancelled])

    def _read_prompts(self) -> None:
        for whole, failed in self._readers.read(_PREFILL_POSITIONS):
            self._events += [(stream, [], error) for stream, error in failed]
            try:
                self._begin(whole)
            except Exception as error:
                streams = [reader.stream for reader, _ in whole]
                rows = self._block.rows
                self._block.leave([at for at, row in enumerate(rows) if row.stream in streams])
                self._events += [(stream, [], error) for stream in streams]

    def _begin(self, whole: list[tuple[Reader, NDArray[np.float32]]]) -> None:
        """Draw the first token of those whose prompt is read, and let them join."""
        for reader, _ in whole:
            if reader.stream.prompt.max_tokens == 0:
                self._events.append((reader.stream, [], "length"))
        writing = [pair for pair in whole if pair[0].stream.prompt.max_tokens > 0]
        if not writing:
            return
        readers = {reader.row: reader for reader, _ in writing}
        going, ended = self._block.first(list(readers), np.stack([v for _, v in writing]))
        self._end(ended)
        for row in going:
            if row.stream.prompt.stream:
                self._events.append((row.stream, row.take(), None))
        self._flush()  # first characters wait for nothing that can be done after them
        for row in going:
            self._block.join(row, readers[row].state_S)

    def _step(self) -> None:
        start_s = time.perf_counter()
        rows = len(self._block.rows)
        ended = self._block.step()
        self._since_joined += 1
        self._count_run(rows, start_s)
        self._end(ended)
        now_s = time.perf_counter()
        if now_s >= self._deliver_at_s:
            self._deliver_at_s = now_s + self._stream_interval_s
            self._block.settle()
            for row in self._block.rows:
                if row.stream.prompt.stream and row.fresh:
                    self._events.append((row.stream, row.take(), None))

    def _fail_all(self, error: Exception) -> None:
        rows = self._block.leave(list(range(len(self._block.rows))))
        for stream in self._readers.give_up() + [row.stream for row in rows]:
            self._events.append((stream, [], error))

    def _end(self, ended: list[Ended]) -> None:
        if ended:
            self._admission.left(len(ended), time.perf_counter(), len(self._waiting))
        for row, reason in ended:
            self._events.append((row.stream, row.take(), reason))

    def _flush(self) -> None:
        """Hand this turn's tokens to the loop that waits for them, in one call."""
        if self._events:
            events, self._events = self._events, []
            _call(events[0][0].loop, _deliver, events)
        # Where the loop shares this core it is let in between two steps, to read requests and to
        # send what was flushed; the scheduler alone would let it wait for some milliseconds.
        give_way()


def _count_run(metrics: ModelMetrics, rows: int, start_s: float) -> None:
    """A function: a method that its own parts hold would keep a closed stepper alive."""
    metrics.batch_rows.observe(rows)
    metrics.inference_seconds.observe(time.perf_counter() - start_s)


def _deliver(events: list[_Event]) -> None:
    for stream, tokens, reason in events:
        if isinstance(reason, Exception):
            stream.deliver([], None, reason)
        else:
            stream.deliver(tokens, reason)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: object) -> None:
    """Call on the loop, unless it is closed: then nobody is left to listen."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(function, *args)
