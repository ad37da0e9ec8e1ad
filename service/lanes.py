"""Lanes: the threads on which graphs run, shared by all models of a worker.

A lane runs one batch at a time with one intra-op thread, so that n lanes use n cores and a row's
bits do not depend on how many there are. A scheduler asks for a lane when it has rows to run;
those who wait are served in turn, one batch each, so that no model starves another.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Lanes:
    """`count` threads. Used from one event loop only."""

    def __init__(self, count: int) -> None:
        assert count >= 1
        self.count = count
        self.idle = count
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="lane")
        self._waiting: deque[Callable[[], None]] = deque()

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

    def run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Run `work` on the held lane's thread."""
        return asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Let running work end, then stop the threads."""
        self._pool.shutdown(wait=True)
