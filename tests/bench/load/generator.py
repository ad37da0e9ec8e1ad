"""An open-loop load generator: requests are due at fixed times, whatever the service does.

A client that waits for an answer before it asks again asks less of a service that is slow, and
leaves out of its latencies those that would have waited meanwhile (coordinated omission). Here a
request is due when the schedule says so, and its latency counts from then: if no connection is
free, or the service stands still, that is part of it. How late the generator itself was in taking
up a request is recorded apart, and so is its CPU time: a generator that cannot keep up voids what
it measured.

A process of its own: `python -m tests.bench.load.generator ORDER RECORD` reads a pickled `Order`
from a file and writes the pickled `Record` to another.
"""

from __future__ import annotations

import asyncio
import gc
import pickle
import resource
import sys
import time
from collections import deque
from pathlib import Path

import numpy as np
import uvloop

from tests.bench.client import Connection
from tests.bench.load.orders import CUT_SHORT, LEFT, LOST, UNANSWERED, Order, Record

_TICK_S = 0.001  # the loop's timers know no less
_RETRY_AFTER = b"\r\nretry-after:"


class _Line(Connection):
    """A keep-alive connection, and the request that is on it."""

    def __init__(self, sender: _Sender, number: int) -> None:
        super().__init__(b"", lambda _: False)
        self._sender = sender
        self.number = number
        self.leaving: asyncio.TimerHandle | None = None

    def answered(self) -> None:
        self._sender.answered(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._sender.lost(self)

    def leave(self) -> None:
        self._sender.settle(self.number, LEFT)
        self._transport.abort()


class _Sender:
    def __init__(self, order: Order) -> None:
        self._order = order
        count = len(order.due_s)
        self.taken_s, self.sent_s, self.first_s, self.last_s = np.full((4, count), np.nan)
        self.status = np.full(count, UNANSWERED)
        self.retry_after = np.zeros(count, dtype=bool)
        self._due = order.due_s.tolist()
        self._kind = order.kind.tolist()
        self._next = 0
        self._open = 0
        self._idle: list[_Line] = []
        self._backlog: deque[int] = deque()
        self._unsettled = count
        self._tasks: set[asyncio.Task[None]] = set()
        self._done = asyncio.Event()

    async def run(self) -> Record:
        order = self._order
        gc.disable()  # a pause of the generator's would look like one of the service's
        self._start_s, start_cpu_s = time.perf_counter(), time.process_time()
        self._pump()
        last_s = self._due[-1] if self._due else 0.0
        try:
            async with asyncio.timeout(last_s + order.grace_s):
                if self._unsettled:
                    await self._done.wait()
        except TimeoutError:
            pass
        elapsed_s = time.perf_counter() - self._start_s
        cpu_s = time.process_time() - start_cpu_s
        return Record(
            order.due_s, order.kind, self.taken_s, self.sent_s, self.first_s, self.last_s,
            self.status, self.retry_after, elapsed_s, cpu_s,
        )  # fmt: skip

    def _pump(self) -> None:
        """Take up what is due, and come again when more is."""
        now_s = time.perf_counter() - self._start_s
        while self._next < len(self._due) and self._due[self._next] <= now_s:
            number = self._next
            self._next += 1
            self.taken_s[number] = time.perf_counter() - self._start_s
            self._dispatch(number)
        if self._next < len(self._due):
            wait_s = self._due[self._next] - (time.perf_counter() - self._start_s)
            asyncio.get_running_loop().call_later(max(_TICK_S, wait_s), self._pump)

    def _dispatch(self, number: int) -> None:
        if self._idle:
            self._send(self._idle.pop(), number)
        elif self._open < self._order.connections:
            self._open += 1
            task = asyncio.ensure_future(self._connect(number))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._backlog.append(number)

    async def _connect(self, number: int) -> None:
        try:
            _, line = await asyncio.get_running_loop().create_connection(
                lambda: _Line(self, number), self._order.host, self._order.port
            )
        except OSError:
            self._open -= 1
            self.settle(number, LOST)
            if self._backlog:
                self._dispatch(self._backlog.popleft())
            return
        self._send(line, number)

    def _send(self, line: _Line, number: int) -> None:
        line.number = number
        kind = self._kind[number]
        bodies = self._order.requests[kind]
        if abandon_s := self._order.abandon_s[kind]:
            line.leaving = asyncio.get_running_loop().call_later(abandon_s, line.leave)
        line.send(bodies[number % len(bodies)])
        self.sent_s[number] = line.sent_s - self._start_s

    def answered(self, line: _Line) -> None:
        """A whole answer is there: note it, and give the connection to who waits for one."""
        number, answer = line.number, line.answer
        if line.leaving is not None:
            line.leaving.cancel()
            line.leaving = None
        status = int(answer[9:12])
        if status == 200 and line.first_s and not _ended(answer):
            status = CUT_SHORT
        if line.first_s:
            self.first_s[number] = line.first_s - self._start_s
        self.last_s[number] = line.last_s - self._start_s
        self.retry_after[number] = status == 429 and _RETRY_AFTER in answer.lower()
        self.settle(number, status)
        if self._backlog:
            self._send(line, self._backlog.popleft())
        else:
            self._idle.append(line)

    def lost(self, line: _Line) -> None:
        """A connection has gone: idle, left on purpose, or with a request on it."""
        self._open -= 1
        if line in self._idle:
            self._idle.remove(line)
        else:
            self.settle(line.number, LOST)
        if self._backlog:
            self._dispatch(self._backlog.popleft())

    def settle(self, number: int, status: int) -> None:
        """Note how a request ended, once."""
        if self.status[number] == UNANSWERED:
            self.status[number] = status
            self._unsettled -= 1
            if not self._unsettled:
                self._done.set()


def _ended(stream: bytearray) -> bool:
    return b"data: [DONE]" in stream[-64:]


async def _run(order: Order) -> Record:
    return await _Sender(order).run()


def main() -> None:
    """Read an order, carry it out, write the record."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asked, told = map(Path, sys.argv[1:])
    order = pickle.loads(asked.read_bytes())
    told.write_bytes(pickle.dumps(uvloop.run(_run(order))))


if __name__ == "__main__":
    main()
