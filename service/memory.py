"""What a worker does not need after its start goes back to the system."""

from __future__ import annotations

import gc

from service import libc

_M_ARENA_MAX = -8  # mallopt's name for it, in glibc's malloc.h
_ARENAS = 2
_COLLECT_AFTER = 200_000
"""New objects that can refer to others, until they are looked through for cycles: more than two
thousand waiting requests hold. Python's 700 are what ten of them hold; the collector then went
through all that wait again and again, and held the event loop for 20 to 60 ms each time. Requests
leave no cycles: of 1,200 of each kind, good, bad and left, none was found."""


def bound_arenas() -> None:
    """Let threads share two of malloc's arenas: each of its own keeps what it once needed."""
    mallopt = libc.find("mallopt")
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)


def settle() -> None:
    """Collect, and let what is left alone: modules live as long as the worker.

    The collector then passes over them, and looks less often, which shortens its longest pauses;
    what malloc holds free goes back to the system.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, *gc.get_threshold()[1:])
    trim = libc.find("malloc_trim")
    if trim is not None:
        trim(0)
