"""Lanes: the threads on which graphs run, shared by all models of a worker.

A lane runs one batch at a time with one intra-op thread, so that n lanes use n cores and a row's
bits do not depend on how many there are. A scheduler asks for a lane when it has rows to run;
those who wait are served in turn, one batch each, so that no model starves another.

Where cores are short, the event loop goes first. It falls behind its sockets otherwise: on one
core, at twice the rate that the service can do, by a second, after which a refusal that takes no
time is still a second late.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread, get_native_id
from typing import Any, TypeVar

T = TypeVar("T")
Done = Callable[[T | None, BaseException | None], None]
"""Called on the loop with what the work returned, or what it raised."""

_BEHIND_THE_LOOP = 5
"""Steps of niceness: a third of the loop's weight where they want the same core, and all of it
while the loop sleeps. On one core at twice its rate the slowest hundredth of refusals took 3 ms
instead of 650 to 1,400, with as many requests answered; 10 steps did no better."""


def yield_to_loop() -> None:
    """Let the event loop's thread go before this one; on Linux, where threads have a niceness of
    their own.
    """
    if sys.platform == "linux":
        with suppress(OSError):  # a sandbox may forbid it; then all are equals, as elsewhere
            thread = get_native_id()
            own = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, own + _BEHIND_THE_LOOP)


class Lanes:
    """`count` threads. Used from one event loop only.

    Plain threads on a queue, not an executor: what it adds to each run (a future for the thread,
    one for the loop, and the link between them) takes as long as a small run itself.
    """

    def __init__(self, count: int) -> None:
        assert count >= 1
        self.count = count
        self.idle = count
        self._waiting: deque[Callable[[], None]] = deque()
        self._work: SimpleQueue[Any] = SimpleQueue()
        self._threads = [
            Thread(target=self._serve, name=f"lane-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def ask(self, start: Callable[[], None]) -> None:
        """Call `start` in a later turn of the loop, holding a lane; it must `release`.

        Never in this turn: requests that are read in one turn go into one batch.
        """
        if self.idle:
            self.idle -= 1
            asyncio.get_running_loop().call_soon(start)
        else:
            self._waiting.append(start)

    def release(self) -> None:
        """Give the lane to the next in turn."""
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._waiting.popleft())
        else:
            self.idle += 1

    def run(self, work: Callable[[], T], done: Done[T]) -> None:
        """Run `work` on the held lane's thread, then `done` on the loop."""
        self._work.put((asyncio.get_running_loop(), work, done))

    def _serve(self) -> None:
        yield_to_loop()
        while (item := self._work.get()) is not None:
            loop, work, done = item
            result, error = None, None
            try:
                result = work()
            except BaseException as raised:
                error = raised
            if not loop.is_closed():  # else nobody is left to listen
                loop.call_soon_threadsafe(done, result, error)
            # A waiting thread must not hold on to a batch.
            del item, work, done, result, error

    def close(self) -> None:
        """Let running work end, then stop the threads."""
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()
