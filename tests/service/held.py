"""A batcher over a graph that can be held up, and fails on a chosen row."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.answer import Answer
from service.batcher import Batcher
from service.cache import Cache
from service.lanes import Lanes
from service.metrics import ModelMetrics
from service.waiting import USUAL, Arrays

POISON = -1


class Graph:
    """A stand-in for a session: outputs are functions of the row; runs wait while it is shut."""

    def __init__(self) -> None:
        self.runs: list[list[int]] = []
        self.wanted: list[tuple[str, ...]] = []
        self.threads: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.running = threading.Semaphore(0)

    def run(self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> Arrays:
        rows = inputs["x"]
        assert rows.flags.c_contiguous
        self.runs.append(rows[:, 0].tolist())
        self.wanted.append(tuple(outputs))
        self.threads.append(threading.get_ident())
        self.running.release()
        assert self.gate.wait(30)
        if (rows == POISON).any():
            raise ValueError("poison")
        known = {"double": rows * 2, "negative": -rows}
        return {name: known[name] for name in outputs}

    async def until_running(self) -> None:
        assert await asyncio.to_thread(self.running.acquire, timeout=30)


class Bench:
    """A batcher on lanes, over a graph that can be held up."""

    def __init__(
        self,
        *,
        lanes: int = 1,
        batch: int = 8,
        queue: int = 64,
        queue_s: float = 0.0,
        cache_bytes: int = 0,
    ) -> None:
        self.graph = Graph()
        self.lanes = Lanes(lanes)
        self.batcher = Batcher(
            self.graph.run,
            self.lanes,
            ModelMetrics("test"),
            max_batch_rows=batch,
            max_queue_rows=queue,
            max_queue_s=queue_s,
            cache=Cache(cache_bytes),
            digest="graph",
        )

    def send(
        self,
        *rows: int,
        outputs: Sequence[str] = ("double",),
        timeout_s: float = 0,
        priority: int = USUAL,
        width: int = 1,
    ) -> asyncio.Task[Answer]:
        inputs = {"x": np.repeat(np.array(rows)[:, None], width, axis=1)}
        return asyncio.ensure_future(
            self.batcher.submit(inputs, outputs, timeout_s=timeout_s, priority=priority)
        )

    async def hold(self, *rows: int) -> asyncio.Task[Answer]:
        """Send rows and return when they are in the graph, which stays shut."""
        self.graph.gate.clear()
        task = self.send(*rows)
        await self.graph.until_running()
        return task
