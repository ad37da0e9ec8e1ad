"""One-shot batches: what is queued while a batch runs makes up the next one.

No fixed delay and no polling: a request that finds a free lane starts with whatever else arrived
in the same turn of the event loop; otherwise it waits for the lane, and those who came meanwhile
go with it. The queue is bounded by rows, not by requests. A request larger than a batch is split
and rejoined; in each batch every waiting request gets its share of rows first, so that a large
one does not hold up the small ones behind it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import DeadlineExceededError, OverloadedError, TooLargeError
from service.lanes import Lanes
from service.metrics import ModelMetrics

Arrays = dict[str, NDArray[Any]]
Run = Callable[[Mapping[str, NDArray[Any]], Sequence[str]], Arrays]


@dataclass(slots=True)
class Answer:
    """Output rows of one request, and where its time went."""

    outputs: Arrays
    queue_s: float
    inference_s: float


@dataclass(slots=True, eq=False)
class _Ticket:
    inputs: Arrays
    rows: int
    wanted: tuple[str, ...]
    future: asyncio.Future[None]
    arrived_s: float
    taken: int = 0
    done: int = 0
    queue_s: float = 0.0
    inference_s: float = 0.0
    parts: dict[int, Arrays] = field(default_factory=dict)


@dataclass(slots=True)
class _Share:
    """Rows [start, start + rows) of a ticket, in one batch."""

    ticket: _Ticket
    start: int
    rows: int

    def input(self, name: str) -> NDArray[Any]:
        return self.ticket.inputs[name][self.start : self.start + self.rows]


class Batcher:
    """The queue of one loaded model. Used from one event loop only.

    Args:
        run: `Session.run`, called on a lane's thread.
        lanes: where it runs.
        metrics: the model's series.
        max_batch_rows: most rows in one run.
        max_queue_rows: most rows waiting.

    """

    def __init__(
        self,
        run: Run,
        lanes: Lanes,
        metrics: ModelMetrics,
        *,
        max_batch_rows: int,
        max_queue_rows: int,
    ) -> None:
        self._run = run
        self._lanes = lanes
        self._metrics = metrics
        self._max_batch_rows = max_batch_rows
        self._max_queue_rows = max_queue_rows
        self._tickets: list[_Ticket] = []
        self._rows_per_s = 0.0
        self._asked = 0
        self.queued_rows = 0

    def admit(self, rows: int) -> None:
        """Raise unless `rows` more may wait; called before a request is decoded.

        Raises:
            TooLargeError: more than the queue could ever hold.
            OverloadedError: no room now.

        """
        if rows > self._max_queue_rows:
            raise TooLargeError(f"{rows} rows in a request; the limit is {self._max_queue_rows}")
        if self.queued_rows + rows > self._max_queue_rows:
            raise OverloadedError(
                f"{self.queued_rows} rows are waiting; the limit is {self._max_queue_rows}",
                retry_after_s=self.queued_rows / self._rows_per_s if self._rows_per_s else 1.0,
            )

    async def submit(self, inputs: Arrays, outputs: Sequence[str], *, timeout_s: float) -> Answer:
        """Queue a request and wait for its rows; cancelling takes the waiting ones out.

        Args:
            inputs: for each input of the graph its rows, C-contiguous, all of one length.
            outputs: the outputs wanted.
            timeout_s: from now; 0 for none.

        Raises:
            OverloadedError, TooLargeError: as `admit`.
            DeadlineExceededError: `timeout_s` passed.

        """
        rows = len(next(iter(inputs.values())))
        self.admit(rows)
        loop = asyncio.get_running_loop()
        ticket = _Ticket(inputs, rows, tuple(outputs), loop.create_future(), time.perf_counter())
        self._tickets.append(ticket)
        self._add_queued(rows)
        self._ask()
        timer = loop.call_later(timeout_s, self._expire, ticket, timeout_s) if timeout_s else None
        try:
            await ticket.future
        finally:
            if timer is not None:
                timer.cancel()
            if ticket.taken < ticket.rows:
                self._tickets.remove(ticket)
                self._add_queued(ticket.taken - ticket.rows)
        return Answer(_join(ticket), ticket.queue_s, ticket.inference_s)

    def _add_queued(self, rows: int) -> None:
        self.queued_rows += rows
        self._metrics.queue_rows.set(self.queued_rows)

    @staticmethod
    def _expire(ticket: _Ticket, timeout_s: float) -> None:
        if not ticket.future.done():
            ticket.future.set_exception(
                DeadlineExceededError(f"no answer within {timeout_s:g} s; it was taken out")
            )

    def _ask(self) -> None:
        """Ask for as many lanes as the waiting rows can fill, one at least."""
        batches = -(-self.queued_rows // self._max_batch_rows)
        for _ in range(min(batches, self._lanes.count) - self._asked):
            self._asked += 1
            self._lanes.ask(self._start)

    def _start(self) -> None:
        self._asked -= 1
        # Idle lanes share what is waiting; a busy worker fills one batch to the brim.
        lanes = 1 + self._lanes.idle
        shares = self._take(min(self._max_batch_rows, max(1, -(-self.queued_rows // lanes))))
        if not shares:
            self._lanes.release()
            return
        task = asyncio.get_running_loop().create_task(self._run_batch(shares))
        task.add_done_callback(_raise)
        self._ask()

    def _take(self, room: int) -> list[_Share]:
        """Fill a batch: a fair share of `room` to each waiting request, then first come."""
        shares: list[_Share] = []
        waiting = [ticket for ticket in self._tickets if not ticket.future.done()]
        if not waiting:
            return shares
        fair = max(1, room // len(waiting))
        grants = [min(fair, ticket.rows - ticket.taken) for ticket in waiting[:room]]
        spare = room - sum(grants)
        for index, ticket in enumerate(waiting[:room]):
            more = min(spare, ticket.rows - ticket.taken - grants[index])
            spare -= more
            rows = grants[index] + more
            shares.append(_Share(ticket, ticket.taken, rows))
            ticket.taken += rows
            self._add_queued(-rows)
        self._tickets = [ticket for ticket in self._tickets if ticket.taken < ticket.rows]
        return shares

    async def _run_batch(self, shares: list[_Share]) -> None:
        start_s = time.perf_counter()
        for share in shares:
            if share.start == 0:
                share.ticket.queue_s = start_s - share.ticket.arrived_s
                self._metrics.queue_seconds.observe(share.ticket.queue_s)
        try:
            await self._compute(shares)
        finally:
            self._lanes.release()
        elapsed_s = time.perf_counter() - start_s
        rows = sum(share.rows for share in shares)
        self._rows_per_s += 0.2 * (rows / elapsed_s - self._rows_per_s)
        self._metrics.batch_rows.observe(rows)
        self._metrics.inference_seconds.observe(elapsed_s)

    async def _compute(self, shares: list[_Share]) -> None:
        wanted = sorted({name for share in shares for name in share.ticket.wanted})

        def work() -> tuple[Arrays, float]:
            start_s = time.perf_counter()
            inputs = {
                name: _contiguous([share.input(name) for share in shares])
                for name in shares[0].ticket.inputs
            }
            outputs = self._run(inputs, wanted)
            return outputs, time.perf_counter() - start_s

        try:
            outputs, elapsed_s = await self._lanes.run(work)
        except Exception as error:
            if len(shares) == 1:
                if not shares[0].ticket.future.done():
                    shares[0].ticket.future.set_exception(error)
                return
            # One bad request must not fail its neighbours: run each alone.
            for share in shares:
                await self._compute([share])
            return
        first = 0
        for share in shares:
            part = {name: outputs[name][first : first + share.rows] for name in share.ticket.wanted}
            first += share.rows
            share.ticket.inference_s += elapsed_s
            share.ticket.parts[share.start] = part
            share.ticket.done += share.rows
            if share.ticket.done == share.ticket.rows and not share.ticket.future.done():
                share.ticket.future.set_result(None)


def _contiguous(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return np.ascontiguousarray(parts[0]) if len(parts) == 1 else np.concatenate(parts)


def _join(ticket: _Ticket) -> Arrays:
    """The parts in row order, as one array per output."""
    parts = [ticket.parts[start] for start in sorted(ticket.parts)]
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in ticket.wanted}


def _raise(task: asyncio.Task[None]) -> None:
    """Surface a bug in the scheduler instead of losing it with its task."""
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
