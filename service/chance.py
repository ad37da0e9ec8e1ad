"""Numbers that nobody chose: seeds of requests that name none, and identifiers.

From a generator of the worker's own, which the system seeds. To ask the system each time gives the
interpreter lock away, and waiting to get it back took a sixth of what it costs to refuse a text.
They tell things apart and are no secrets: those come from `secrets`.
"""

from __future__ import annotations

import os
import random

SEED_BITS = 53
"""Seeds below 2**53 are exact in every JSON reader."""

_random = random.Random()
os.register_at_fork(after_in_child=_random.seed)  # else parent and child would draw the same


def fresh_seed() -> int:
    """A seed for a request that names none, in [0, 2**53)."""
    return _random.getrandbits(SEED_BITS)


def fresh_id() -> str:
    """32 hexadecimal digits, not all of them 0."""
    return f"{_random.getrandbits(128) or 1:032x}"


def fresh_span_id() -> int:
    """64 bits, not all of them 0."""
    return _random.getrandbits(64) or 1
