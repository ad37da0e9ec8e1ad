"""What a worker does not need after its start goes back to the system."""

from __future__ import annotations

import ctypes
import gc

_M_ARENA_MAX = -8  # mallopt's name for it, in glibc's malloc.h
_ARENAS = 2


def bound_arenas() -> None:
    """Let threads share two of malloc's arenas: each of its own keeps what it once needed."""
    mallopt = _libc_function("mallopt")
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)


def settle() -> None:
    """Collect, and let what is left alone: modules live as long as the worker.

    The collector then passes over them, which shortens its longest pauses; what malloc holds free
    goes back to the system.
    """
    gc.collect()
    gc.freeze()
    trim = _libc_function("malloc_trim")
    if trim is not None:
        trim(0)


def _libc_function(name: str) -> ctypes._NamedFuncPointer | None:
    """A function of the C library; None where it is another one than glibc."""
    try:
        function: ctypes._NamedFuncPointer = getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
    return function
