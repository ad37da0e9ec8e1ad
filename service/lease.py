"""The right to use a loaded version while a request lasts, whatever replaces it meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from service.kinds.base import Kind

K = TypeVar("K", bound=Kind)


class Served:
    """A loaded version and how many requests use it."""

    def __init__(self, engine: Kind) -> None:
        self.engine = engine
        self.leases = 0
        self.replaced = False


class Lease(Generic[K]):
    """The right to use a version while the block lasts."""

    __slots__ = ("_close_if_done", "_served")

    def __init__(self, served: Served, close_if_done: Callable[[Served], None]) -> None:
        self._served = served
        self._close_if_done = close_if_done

    def __enter__(self) -> K:
        self._served.leases += 1
        return self._served.engine  # type: ignore[return-value]  # of this kind: looked up by it

    def __exit__(self, *_: object) -> None:
        self._served.leases -= 1
        self._close_if_done(self._served)
