"""What a worker does not need after its start goes back to the system."""

from __future__ import annotations

import gc

from service import libc

_M_ARENA_MAX = -8  # mallopt's name for it, in glibc's malloc.h
_ARENAS = 2


def bound_arenas() -> None:
    """Let threads share two of malloc's arenas: each of its own keeps what it once needed."""
    mallopt = libc.find("mallopt")
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)


def settle() -> None:
    """Collect, and let what is left alone: modules live as long as the worker.

    The collector then passes over them, which shortens its longest pauses; what malloc holds free
    goes back to the system.
    """
    gc.collect()
    gc.freeze()
    trim = libc.find("malloc_trim")
    if trim is not None:
        trim(0)
