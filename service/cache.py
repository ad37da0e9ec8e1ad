"""Answers kept for requests that come again. Exact, because answers are deterministic.

A key holds everything that an answer depends on: the graph's digest, the input and the
parameters. Off unless it is given bytes; the least recently used answer goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any


class Cache:
    """Answers by key, `limit_bytes` of them at most. Used from one event loop only."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._answers: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self.bytes = 0

    @property
    def on(self) -> bool:
        """Whether anything is kept; where not, no key need be made."""
        return self._limit_bytes > 0

    def get(self, key: Hashable) -> Any | None:
        """The answer, or None; it is now the most recently used."""
        found = self._answers.get(key)
        if found is None:
            return None
        self._answers.move_to_end(key)
        return found[0]

    def put(self, key: Hashable, answer: Any, size_bytes: int) -> None:
        """Keep an answer, which nobody may change from now on; one too large is not kept."""
        if size_bytes > self._limit_bytes or key in self._answers:
            return
        self._answers[key] = (answer, size_bytes)
        self.bytes += size_bytes
        while self.bytes > self._limit_bytes:
            _, (_, freed_bytes) = self._answers.popitem(last=False)
            self.bytes -= freed_bytes
