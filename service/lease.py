"""The right to use a loaded version while a request lasts, whatever replaces it meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, Literal, NamedTuple, Protocol, TypeVar

from service.kinds.base import Kind
from service.telemetry.trail import TRAIL

K = TypeVar("K", bound=Kind)
Role = Literal["served", "canary", "shadow"]


class Served:
    """A loaded version and how many requests use it."""

    def __init__(self, engine: Kind) -> None:
        self.engine = engine
        self.leases = 0
        self.replaced = False


class Version(NamedTuple):
    """A version that requests may name, and what it is there for."""

    name: str
    role: Role
    served: Served


class Observer(Protocol):
    """Who is told of every request that a lease was for."""

    def saw(self, served: Served, latency_s: float, error: BaseException | None) -> None:
        """A request took so long, and ended so."""


class Lease(Generic[K]):
    """The right to use a version while the block lasts."""

    __slots__ = ("_close_if_done", "_observer", "_served", "_start_s")

    def __init__(
        self,
        served: Served,
        close_if_done: Callable[[Served], None],
        observer: Observer | None = None,
    ) -> None:
        self._served = served
        self._close_if_done = close_if_done
        self._observer = observer

    def __enter__(self) -> K:
        self._served.leases += 1
        if self._observer is not None:
            self._start_s = time.perf_counter()
        if (trail := TRAIL.get()) is not None:
            manifest = self._served.engine.manifest
            trail.served_by(manifest.name, manifest.version)
        return self._served.engine  # type: ignore[return-value]  # of this kind: looked up by it

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._served.leases -= 1
        if self._observer is not None:
            self._observer.saw(self._served, time.perf_counter() - self._start_s, error)
        self._close_if_done(self._served)
