"""One-shot batches: what is queued while a batch runs makes up the next one.

No fixed delay and no polling: a request that finds a free lane starts with whatever else arrived
in the same turn of the event loop; otherwise it waits for the lane, and those who came meanwhile
go with it. The queue is bounded by rows, not by requests. A request larger than a batch is split
and rejoined; in each batch every waiting request gets its share of rows first, so that a large
one does not hold up the small ones behind it. More urgent requests go before all others.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.admission import Admission
from service.answer import Answer, KeptAnswers, Witness
from service.cache import Cache
from service.errors import DeadlineExceededError
from service.lanes import Lanes
from service.metrics import ModelMetrics
from service.telemetry.trail import TRAIL
from service.waiting import USUAL, Arrays, Aside, Share, Ticket, Waiting

Run = Callable[[Mapping[str, NDArray[Any]], Sequence[str]], Arrays]

_BRIEF_S = 0.002
"""A lone request whose run is as short as this runs on the event loop: two changes of thread
would take longer than others may wait for it."""
_run_numbers = itertools.count(1)


class Batcher:
    """The queue of one loaded model. Used from one event loop only.

    Requests whose arrays agree in all axes but the first share batches.

    Args:
        run: `Session.run`; called on a lane's thread, or on the loop's if it is brief.
        lanes: where it runs.
        metrics: the model's series.
        max_batch_rows: most rows in one run.
        max_queue_rows: most rows waiting.
        max_queue_s: longest estimated wait; 0: bounded by rows alone.
        cache: of answers.
        digest: of the graph; part of a cached answer's key.

    """

    def __init__(
        self,
        run: Run,
        lanes: Lanes,
        metrics: ModelMetrics,
        *,
        max_batch_rows: int,
        max_queue_rows: int,
        max_queue_s: float = 0.0,
        cache: Cache | None = None,
        digest: str = "",
    ) -> None:
        self._run = run
        self._lanes = lanes
        self._metrics = metrics
        self.max_batch_rows = max_batch_rows
        self._admission = Admission(max_queue_rows, max_queue_s)
        self._kept = KeptAnswers(cache or Cache(0), digest)
        self._waiting = Waiting()
        self._aside = Aside()
        self._running = 0  # rows in runs
        self._lone_run_s = float("inf")
        self._lone_before = False
        self._asked = 0
        self.witness: Witness | None = None
        """While a version is on trial."""

    @property
    def queued_rows(self) -> int:
        """Rows that wait for a run."""
        return self._waiting.rows

    def admit(self, rows: int) -> None:
        """Raise unless `rows` more may wait; called before a request is decoded.

        Raises:
            TooLargeError: more than the queue could ever hold.
            OverloadedError: no room now, or too long a wait.

        """
        self._admission.check(rows, self.queued_rows + self._aside.rows, running=self._running)

    def aside(self, rows: int) -> AbstractContextManager[None]:
        """`with batcher.aside(rows):` while they are decoded or encoded on a thread: they take
        room as if they waited, so that work beside the runs is bounded with them.
        """
        return self._aside.taking(rows)

    async def submit(
        self,
        inputs: Arrays,
        outputs: Sequence[str],
        *,
        timeout_s: float,
        priority: int = USUAL,
        witnessed: bool = True,
        admitted: bool = False,
    ) -> Answer:
        """Queue a request and wait for its rows; cancelling takes the waiting ones out.

        Args:
            inputs: for each input of the graph its rows, all of one length.
            outputs: the outputs wanted.
            timeout_s: from now; 0 for none.
            priority: one of `service.waiting.PRIORITIES`; a lower number goes first.
            witnessed: whether `witness` is told.
            admitted: `admit` let it in before it was decoded: it is not asked to leave now because
                others came after it.

        Raises:
            OverloadedError, TooLargeError: as `admit`.
            DeadlineExceededError: `timeout_s` passed.

        """
        arrays = list(inputs.values())
        rows = len(arrays[0])
        wanted = tuple(outputs)
        key = self._kept.key(inputs, wanted)
        if key is not None and (kept := self._kept.get(key)) is not None:
            self._metrics.hit()
            return kept
        if admitted:
            self._admission.check_room(rows, self.queued_rows + self._aside.rows)
        else:
            self.admit(rows)
        loop = asyncio.get_running_loop()
        now_s = time.perf_counter()
        ticket = Ticket(inputs, rows, wanted, loop.create_future(), now_s, priority)
        trail = TRAIL.get()
        if trail is not None and witnessed and trail.join(rows):
            ticket.trail = trail
        self._waiting.add(ticket)
        self._metrics.add_waiting(rows)
        self._ask()
        timer = loop.call_later(timeout_s, _expire, ticket, timeout_s) if timeout_s else None
        try:
            await ticket.future
        finally:
            if timer is not None:
                timer.cancel()
            if ticket.taken < ticket.rows:
                self._metrics.add_waiting(-self._waiting.remove(ticket))
        answer = Answer(ticket.joined(), ticket.queue_s, ticket.inference_s)
        if key is not None:
            self._kept.put(key, answer)
        if self.witness is not None and witnessed:
            self.witness(inputs, answer)
        return answer

    def _ask(self) -> None:
        """Ask for as many lanes as the waiting rows can fill, one at least."""
        batches = -(-self.queued_rows // self.max_batch_rows)
        for _ in range(min(batches, self._lanes.count) - self._asked):
            self._asked += 1
            self._lanes.ask(self._start)

    def _start(self) -> None:
        self._asked -= 1
        # Idle lanes share what is waiting; a busy worker fills one batch to the brim.
        lanes = 1 + self._lanes.idle
        room = min(self.max_batch_rows, max(1, -(-self.queued_rows // lanes)))
        shares = self._waiting.take(room)
        self._metrics.add_waiting(-sum(share.rows for share in shares))
        if not shares:
            self._lanes.release()
            return
        start_s = time.perf_counter()
        for share in shares:
            if share.start == 0:
                share.ticket.queue_s = start_s - share.ticket.arrived_s
                self._metrics.queue_seconds.observe(share.ticket.queue_s)
        lone = len(shares) == 1 and shares[0].rows == 1 and self.queued_rows == 0
        brief = lone and self._lone_before and self._lone_run_s <= _BRIEF_S
        self._lone_before = lone
        if brief:
            try:
                outputs, elapsed_s = self._work(shares)
            except Exception as error:
                shares[0].ticket.fail(error)
            else:
                self._lone_run_s += 0.1 * (elapsed_s - self._lone_run_s)
                self._deliver(shares, outputs, elapsed_s)
            self._lanes.release()
        else:
            self._run_on_lane(shares)
            self._ask()

    def _work(self, shares: list[Share]) -> tuple[Arrays, float]:
        start_s = time.perf_counter()
        wanted = sorted({name for share in shares for name in share.ticket.wanted})
        inputs = {
            name: _contiguous([share.input(name) for share in shares])
            for name in shares[0].ticket.inputs
        }
        outputs = self._run(inputs, wanted)
        return outputs, time.perf_counter() - start_s

    def _run_on_lane(self, shares: list[Share]) -> None:
        def done(found: tuple[Arrays, float] | None, error: BaseException | None) -> None:
            self._running -= rows
            self._end(shares, found, error)

        rows = sum(share.rows for share in shares)
        self._running += rows
        self._lanes.run(lambda: self._work(shares), done)

    def _end(
        self,
        shares: list[Share],
        found: tuple[Arrays, float] | None,
        error: BaseException | None,
    ) -> None:
        self._lanes.release()
        if found is not None:
            outputs, elapsed_s = found
            if len(shares) == 1 and shares[0].rows == 1:
                self._lone_run_s = elapsed_s
            self._deliver(shares, outputs, elapsed_s)
        elif len(shares) == 1:
            assert error is not None
            shares[0].ticket.fail(error)
        else:
            # One bad request must not fail its neighbours: run each alone.
            for share in shares:
                self._again(share)

    def _again(self, share: Share) -> None:
        def start() -> None:
            self._run_on_lane([share])

        self._lanes.ask(start)

    def _deliver(self, shares: list[Share], outputs: Arrays, elapsed_s: float) -> None:
        first = 0
        run: tuple[int, int] | None = None
        for share in shares:
            ticket = share.ticket
            last = first + share.rows
            ticket.parts[share.start] = {name: outputs[name][first:last] for name in ticket.wanted}
            first = last
            ticket.inference_s += elapsed_s
            ticket.done += share.rows
            if ticket.trail is not None:
                run = run or (next(_run_numbers), sum(share.rows for share in shares))
                ticket.trail.ran(run, ticket.arrived_s + ticket.queue_s, elapsed_s)
            if ticket.done == ticket.rows and not ticket.future.done():
                ticket.future.set_result(None)
        waiting = self.queued_rows + self._aside.rows
        self._admission.left(first, time.perf_counter(), waiting, run_s=elapsed_s)
        self._metrics.batch_rows.observe(first)
        self._metrics.inference_seconds.observe(elapsed_s)


def _expire(ticket: Ticket, timeout_s: float) -> None:
    ticket.fail(DeadlineExceededError(f"no answer within {timeout_s:g} s; it was taken out"))


def _contiguous(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return np.ascontiguousarray(parts[0]) if len(parts) == 1 else np.concatenate(parts)
