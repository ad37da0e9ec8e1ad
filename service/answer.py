"""What one request got of a batch, and answers kept for whoever asks the same again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np

from service.cache import Cache
from service.waiting import Arrays


@dataclass(slots=True)
class Answer:
    """Output rows of one request, and where its time went."""

    outputs: Arrays
    queue_s: float
    inference_s: float


Witness = Callable[[Arrays, Answer], None]
"""Told of the inputs and the answer of every request that was answered."""


class KeptAnswers:
    """The answers of one graph in the cache, by what was asked.

    Args:
        cache: where they are kept.
        digest: of the graph.

    """

    __slots__ = ("_cache", "_digest")

    def __init__(self, cache: Cache, digest: str) -> None:
        self._cache = cache
        self._digest = digest

    def key(self, inputs: Arrays, wanted: tuple[str, ...]) -> Hashable | None:
        """Of a request for some outputs; None where nothing is kept."""
        return (self._digest, wanted, _fingerprint(inputs)) if self._cache.on else None

    def get(self, key: Hashable) -> Answer | None:
        """The same answer, which took no time."""
        outputs: Arrays | None = self._cache.get(key)
        return None if outputs is None else Answer(outputs, 0.0, 0.0)

    def put(self, key: Hashable, answer: Answer) -> None:
        """Keep an answer: copies, for a row of a batch would hold the whole batch in memory."""
        copies = {name: array.copy() for name, array in answer.outputs.items()}
        self._cache.put(key, copies, sum(array.nbytes for array in copies.values()))


def _fingerprint(inputs: Arrays) -> bytes:
    """A digest of names, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(inputs):
        array = np.ascontiguousarray(inputs[name])
        digest.update(f"{name} {array.dtype} {array.shape};".encode())
        digest.update(array.data)
    return digest.digest()
