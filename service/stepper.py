"""Continuous batching for text: sequences join and leave the running batch at any step.

One thread per loaded model turns the crank: let newcomers in, read their prompts in chunks, step
every running sequence by one token, hand the new tokens to the event loop. A sequence's answer
depends on its own prompt, parameters and seed alone: the recurrent state is one row, prompts are
cut the same way whoever else is there, and each row draws from its own random sequence.

(Orca, Yu et al. 2022, calls this iteration-level scheduling.)
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from service.errors import NotReadyError, OverloadedError, TooLargeError
from service.metrics import ModelMetrics
from service.noise import Uniforms
from service.sampling import Sampler, log_softmax
from service.sequences import FinishReason, Prompt, Stream, Token

Step = Callable[
    [NDArray[np.int64], NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.float32]]
]
"""token [N, T], state [N, S] -> logits [N, T, V], state [N, S]"""

_CHUNKS = (64, 16, 4, 1)  # a prompt is read in these, largest first: few shapes to warm up
_PREFILL_POSITIONS = 256  # prompt positions read between two steps of the running sequences


class _Row:
    """A sequence in the thread's hands."""

    __slots__ = ("chunk_start", "made", "state_S", "stream", "tokens", "uniforms")

    def __init__(self, stream: Stream, state_width: int) -> None:
        self.stream = stream
        self.state_S = np.zeros(state_width, dtype=np.float32)
        self.chunk_start = 0
        self.tokens: list[Token] = []  # not yet delivered
        self.made: list[int] = []
        self.uniforms = Uniforms(stream.prompt.seed, stream.prompt.row)

    def next_chunk(self) -> int:
        left = len(self.stream.prompt.tokens) - self.chunk_start
        return next(chunk for chunk in _CHUNKS if chunk <= left)

    def finish(self) -> FinishReason | None:
        prompt = self.stream.prompt
        for stop in prompt.stops:
            if tuple(self.made[-len(stop) :]) == stop:
                return "stop"
        return "length" if len(self.made) >= prompt.max_tokens else None


class Stepper:
    """The text engine of one loaded model.

    Args:
        step: runs the graph; called on the stepper's thread.
        state_width: S.
        vocabulary: V.
        metrics: the model's series.
        max_batch_rows: most sequences stepped together.
        max_queue_rows: most sequences waiting to join.

    """

    def __init__(
        self,
        step: Step,
        *,
        state_width: int,
        vocabulary: int,
        metrics: ModelMetrics,
        max_batch_rows: int,
        max_queue_rows: int,
    ) -> None:
        self._step = step
        self._state_width = state_width
        self._vocabulary = vocabulary
        self._metrics = metrics
        self._max_batch_rows = max_batch_rows
        self._max_queue_rows = max_queue_rows
        self._arrivals: queue.SimpleQueue[Stream | None] = queue.SimpleQueue()
        self._submitted = 0  # written on the loop
        self._taken = 0  # written on the thread
        self._rows_per_s = 0.0
        self._last_end_s = time.perf_counter()
        self._closing = False
        self._waiting: deque[Stream] = deque()
        self._reading: list[_Row] = []
        self._running: list[_Row] = []
        self._state_NS = np.zeros((0, state_width), dtype=np.float32)
        self._sampler = Sampler([], vocabulary)
        self._events: list[tuple[Stream, list[Token], FinishReason | None]] = []
        self._thread = threading.Thread(target=self._turn, name="stepper", daemon=True)
        self._thread.start()

    @property
    def queued_rows(self) -> int:
        """Sequences that wait to join."""
        return self._submitted - self._taken

    def admit(self, rows: int) -> None:
        """Raise TooLargeError or OverloadedError unless `rows` more sequences may wait."""
        if rows > self._max_queue_rows:
            raise TooLargeError(f"{rows} sequences; the limit is {self._max_queue_rows}")
        if self.queued_rows + rows > self._max_queue_rows:
            raise OverloadedError(
                f"{self.queued_rows} sequences are waiting; the limit is {self._max_queue_rows}",
                retry_after_s=self.queued_rows / self._rows_per_s if self._rows_per_s else 1.0,
            )

    def submit(self, prompt: Prompt) -> Stream:
        """Queue a sequence; its tokens come through the stream."""
        self.admit(1)
        if self._closing:
            raise NotReadyError("the model is being closed")
        stream = Stream(prompt, asyncio.get_running_loop(), time.perf_counter())
        self._submitted += 1
        self._arrivals.put(stream)
        return stream

    def close(self) -> None:
        """Finish what was submitted, then stop the thread; blocks until then."""
        self._closing = True
        self._arrivals.put(None)
        self._thread.join()

    # --- the thread -----------------------------------------------------------------------

    def _turn(self) -> None:
        open_ = True
        while open_ or self._waiting or self._reading or self._running:
            open_ = self._let_in(open_)
            try:
                self._read_prompts()
                self._flush()  # first characters do not wait for the step that follows
                if self._running:
                    self._step_running()
            except Exception as error:
                self._fail_all(error)
            self._flush()

    def _let_in(self, open_: bool) -> bool:
        """Take what has arrived; sleep while there is nothing to do."""
        idle = not (self._waiting or self._reading or self._running)
        while open_:
            try:
                stream = self._arrivals.get(block=idle)
            except queue.Empty:
                break
            idle = False
            if stream is None:
                open_ = False
            else:
                self._waiting.append(stream)
        if any(stream.cancelled for stream in self._waiting):
            left = deque(stream for stream in self._waiting if not stream.cancelled)
            self._taken += len(self._waiting) - len(left)
            self._waiting = left
        while self._waiting and len(self._reading) + len(self._running) < self._max_batch_rows:
            stream = self._waiting.popleft()
            self._taken += 1
            stream.queue_s = time.perf_counter() - stream.submitted_s
            self._metrics.queue_seconds.observe(stream.queue_s)
            self._reading.append(_Row(stream, self._state_width))
        return open_

    def _read_prompts(self) -> None:
        """Read prompts chunk by chunk; rows whose next chunk is as long are read together."""
        positions = 0
        while self._reading and positions < _PREFILL_POSITIONS:
            self._reading = [row for row in self._reading if not row.stream.cancelled]
            if not self._reading:
                return
            chunk = self._reading[0].next_chunk()
            rows = [row for row in self._reading if row.next_chunk() == chunk]
            self._read_chunk(rows, chunk)
            positions += chunk
            whole = [row for row in rows if row.chunk_start == len(row.stream.prompt.tokens)]
            self._reading = [row for row in self._reading if row not in whole]

    def _read_chunk(self, rows: list[_Row], chunk: int) -> None:
        token_NT = np.array(
            [row.stream.prompt.tokens[row.chunk_start : row.chunk_start + chunk] for row in rows],
            dtype=np.int64,
        )
        logits_NTV, state_NS = self._timed_step(token_NT, np.stack([row.state_S for row in rows]))
        ready: list[_Row] = []
        for index, row in enumerate(rows):
            prompt = row.stream.prompt
            if prompt.score_prompt:
                self._score(row, logits_NTV[index])
            row.state_S = state_NS[index]
            row.chunk_start += chunk
            if row.chunk_start == len(prompt.tokens):
                if prompt.max_tokens == 0:
                    self._events.append((row.stream, [], "length"))
                else:
                    ready.append(row)
        if ready:
            last_NV = np.stack([logits_NTV[rows.index(row), -1] for row in ready])
            sampler = Sampler([row.stream.prompt.sampling for row in ready], self._vocabulary)
            joining = self._sample(ready, sampler, last_NV)
            if joining:
                self._state_NS = np.concatenate(
                    [self._state_NS, np.stack([row.state_S for row in joining])]
                )
                self._running = self._running + joining
                self._resample()

    @staticmethod
    def _score(row: _Row, logits_TV: NDArray[np.float32]) -> None:
        """Log-probabilities of the prompt's own tokens in this chunk and the one after it."""
        prompt = row.stream.prompt
        if row.chunk_start == 0:
            row.stream.scored.append(Token(prompt.tokens[0]))
        following = prompt.tokens[row.chunk_start + 1 : row.chunk_start + 1 + len(logits_TV)]
        logprob_TV = log_softmax(logits_TV)
        for index, logprob_V in zip(following, logprob_TV, strict=False):
            row.stream.scored.append(_token(index, logprob_V, prompt.top_logprobs or 0))

    def _step_running(self) -> None:
        if any(row.stream.cancelled for row in self._running):
            self._keep([not row.stream.cancelled for row in self._running])
            if not self._running:
                return
        token_N1 = np.array([[row.made[-1]] for row in self._running], dtype=np.int64)
        logits_NTV, self._state_NS = self._timed_step(token_N1, self._state_NS)
        rows = self._running
        staying = self._sample(rows, self._sampler, logits_NTV[:, 0])
        if len(staying) < len(rows):
            kept = set(map(id, staying))
            self._keep([id(row) in kept for row in rows])

    def _sample(
        self, rows: list[_Row], sampler: Sampler, logits_NV: NDArray[np.float32]
    ) -> list[_Row]:
        """Draw each row's next token; return the rows that go on."""
        uniform_N = np.array([row.uniforms.draw() for row in rows])
        chosen = sampler.choose(logits_NV, uniform_N)
        logprob_NV = (
            log_softmax(logits_NV)
            if any(row.stream.prompt.top_logprobs is not None for row in rows)
            else None
        )
        staying: list[_Row] = []
        for position, (row, index) in enumerate(zip(rows, chosen, strict=True)):
            top = row.stream.prompt.top_logprobs
            row.made.append(index)
            row.tokens.append(
                Token(index)
                if logprob_NV is None or top is None
                else _token(index, logprob_NV[position], top)
            )
            finish = row.finish()
            if finish is None:
                staying.append(row)
            else:
                self._count_end()
            if finish is not None or row.stream.prompt.stream:
                self._events.append((row.stream, row.tokens, finish))
                row.tokens = []
        return staying

    def _count_end(self) -> None:
        now_s = time.perf_counter()
        self._rows_per_s += 0.1 * (1.0 / max(now_s - self._last_end_s, 1e-6) - self._rows_per_s)
        self._last_end_s = now_s

    def _keep(self, mask: list[bool]) -> None:
        self._running = [row for row, keep in zip(self._running, mask, strict=True) if keep]
        self._state_NS = self._state_NS[np.array(mask)]
        self._resample()

    def _resample(self) -> None:
        self._sampler = Sampler(
            [row.stream.prompt.sampling for row in self._running], self._vocabulary
        )

    def _timed_step(
        self, token_NT: NDArray[np.int64], state_NS: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        start_s = time.perf_counter()
        result = self._step(token_NT, state_NS)
        elapsed_s = time.perf_counter() - start_s
        self._metrics.batch_rows.observe(len(token_NT))
        self._metrics.inference_seconds.observe(elapsed_s)
        return result

    def _flush(self) -> None:
        """Hand this turn's tokens to the loops that wait for them, one call each."""
        events, self._events = self._events, []
        if events:
            _call(events[0][0].loop, _deliver, events)

    def _fail_all(self, error: Exception) -> None:
        rows = self._reading + self._running
        self._reading, self._running = [], []
        self._state_NS = self._state_NS[:0]
        self._resample()
        for row in rows:
            _call(row.stream.loop, row.stream.deliver, [], None, error)


def _token(index: int, logprob_V: NDArray[np.float64], top: int) -> Token:
    order = np.argsort(-logprob_V, kind="stable")[:top].tolist()
    return Token(index, float(logprob_V[index]), [(i, float(logprob_V[i])) for i in order])


def _deliver(events: list[tuple[Stream, list[Token], FinishReason | None]]) -> None:
    for stream, tokens, finish in events:
        stream.deliver(tokens, finish)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: object) -> None:
    """Call on the loop, unless it is closed: then nobody is left to listen."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(function, *args)
