"""Functions of the C library that Python does not offer, or not in the way that is needed."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable


def find(name: str) -> Callable[..., int] | None:
    """A function of the C library, called without the interpreter lock; None if it has none."""
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
    return function


give_way: Callable[[], int | None] = find("sched_yield") or os.sched_yield
"""Let another thread have this core. Python's own `os.sched_yield` keeps the interpreter lock
before 3.13, and so gives way to nobody who needs it."""
