"""What a worker does not need after its start goes back to the system."""

from __future__ import annotations

import gc

from service import libc

_M_ARENA_MAX = -8  # mallopt's name for it, in glibc's malloc.h
_ARENAS = 2
_COLLECT_AFTER = 10_000
"""Objects that can refer to others, more than were let go since the last look for cycles. Python's
700 are what twenty waiting requests hold; with a thousand of them the collector went through all
again and again, and held the event loop for up to 60 ms. Requests leave next to no cycles."""
_COLLECT_OLD_AFTER = 1_000
"""Such looks, before what they left is looked at too. With a thousand requests waiting that takes
30 ms, and Python's 10 looks pass in a second; what few cycles are among it can wait for minutes."""


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
    gc.set_threshold(_COLLECT_AFTER, _COLLECT_OLD_AFTER)
    trim = libc.find("malloc_trim")
    if trim is not None:
        trim(0)
