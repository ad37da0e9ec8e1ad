"""Which version of each model is served, and how one takes over from another.

A request holds a lease on the version it began with; a version that has been replaced is closed
when its last lease ends. A version that cannot be loaded is never served: the one before it goes
on, and the failure is logged, counted and shown.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from service import metrics
from service.cache import Cache
from service.errors import ContractError, NotReadyError, UnknownNameError
from service.kinds import kinds
from service.kinds.base import Bench, Kind
from service.lanes import Lanes
from service.lease import K, Lease, Served
from service.loading import load
from service.metrics import ModelMetrics
from service.settings import Settings
from service.store import Store

log = logging.getLogger("triptych.registry")


class Registry:
    """The served versions. Used from one event loop only."""

    def __init__(self, settings: Settings, store: Store, lanes: Lanes) -> None:
        self._settings = settings
        self._store = store
        self._lanes = lanes
        self._cache = Cache(settings.cache_mib * 2**20)
        self._served: dict[str, Served] = {}
        self._loading: dict[str, asyncio.Lock] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self.expected: list[str] = []
        self.problems: dict[str, str] = {}
        """Why a model's current version is not served, by model."""
        self.unloaded: set[str] = set()
        """Models that a client unloaded: nobody expects them, whatever is published."""

    # --- reading --------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether every model that the store had at the start, one at least, is served.

        A later version that cannot be loaded is a problem, and shown as one, but no reason to
        send no more requests: the version before it goes on.
        """
        return bool(self.expected or self.unloaded) and set(self.expected) <= set(self._served)

    def engines(self) -> list[Kind]:
        """The engines now served, by model name."""
        return [self._served[name].engine for name in sorted(self._served)]

    def lease(self, kind: type[K], name: str | None) -> Lease[K]:
        """Hold the served version of a model of `kind`; `name` None is the kind's first model.

        Raises:
            UnknownNameError: no model of that kind has this name.
            NotReadyError: it is not loaded.

        """
        return Lease(self._find(kind, name), self._close_if_done)

    def lease_any(self, name: str, version: str | None = None) -> Lease[Kind]:
        """Hold the served version of a model of whatever kind.

        Raises:
            UnknownNameError: there is no such model, or `version` is not the one it serves.
            NotReadyError: it is not loaded.

        """
        served = self._served.get(name)
        if served is None:
            self._refuse_unloaded(name)
            if name in self.expected or name in self.problems or not self.expected:
                why = f": {self.problems[name]}" if name in self.problems else ""
                raise NotReadyError(f"{name} is not loaded{why}", field="model")
            known = ", ".join(sorted(self._served)) or "none"
            raise UnknownNameError(
                f"there is no model called {name!r}; there is: {known}", field="model"
            )
        serving = served.engine.manifest.version
        if version is not None and version != serving:
            raise UnknownNameError(
                f"{name} serves version {serving}, not {version!r}", field="version"
            )
        return Lease(served, self._close_if_done)

    def _find(self, kind: type[K], name: str | None) -> Served:
        if name is None:
            names = [known for known, it in self._served.items() if it.engine.name == kind.name]
            served = self._served[min(names)] if names else None
        else:
            served = self._served.get(name)
        if served is not None and served.engine.name == kind.name:
            return served
        if served is not None:
            raise UnknownNameError(
                f"{name} is a {served.engine.name}, not a {kind.name}", field="model"
            )
        self._refuse_unloaded(name)
        # What is not loaded may yet be the one that is asked for.
        if not self.ready and (name is None or not self.expected or name in self.expected):
            raise NotReadyError(f"{name or 'a ' + kind.name} is not loaded", field="model")
        if name is None and self.unloaded:
            raise NotReadyError(f"no {kind.name} is loaded", field="model")
        if name is None:
            raise UnknownNameError(f"the store has no {kind.name}", field="model")
        names = [known for known, it in self._served.items() if it.engine.name == kind.name]
        raise UnknownNameError(
            f"there is no {kind.name} called {name!r}; there is: {', '.join(names) or 'none'}",
            field="model",
        )

    def _refuse_unloaded(self, name: str | None) -> None:
        if name in self.unloaded:
            raise NotReadyError(f"{name} is unloaded", field="model")

    # --- loading --------------------------------------------------------------------------

    async def open(self) -> None:
        """Load the current version of every model, all at once."""
        try:
            names = self._store.names()
        except ContractError as error:
            log.error("%s", error)
            self.problems["store"] = str(error)
            return
        self.expected = [name for name in names if name not in self.unloaded]
        if not names:
            self.problems["store"] = f"no model is published in {self._store.root.absolute()}"
            log.error("%s", self.problems["store"])
        for name in self.expected:
            # Series that exist from the start: an increase from nothing is not seen.
            metrics.LOAD_FAILURES.labels(name)
            metrics.SWAPS.labels(name)
        await asyncio.gather(*(self.refresh(name) for name in self.expected))

    async def follow(self) -> None:
        """Swap whenever CURRENT is replaced, until cancelled."""
        try:
            async for names in self._store.changes():
                for name in sorted(names):
                    await self.refresh(name)
        except Exception as error:  # no watches left, or none on this file system
            self.problems["store"] = f"new versions are not followed: {error}"
            log.error("%s", self.problems["store"])

    async def refresh(self, name: str) -> bool:
        """Serve the version that CURRENT names; True if it is served afterwards."""
        async with self._loading.setdefault(name, asyncio.Lock()):
            if name in self.unloaded:
                return False
            served = self._served.get(name)
            start_s = time.perf_counter()
            try:
                version = self._store.current(name)
                if served is None or served.engine.manifest.version != version:
                    engine = await asyncio.get_running_loop().run_in_executor(
                        None, self._load, name, version
                    )
                    self._swap(name, engine, time.perf_counter() - start_s)
            except Exception as error:  # whatever it is, the version before it goes on
                self.problems[name] = str(error)
                metrics.LOAD_FAILURES.labels(name).inc()
                going_on = f"; {served.engine.manifest.version} goes on" if served else ""
                log.error("%s is not served: %s%s", name, error, going_on)
                return False
            self.problems.pop(name, None)
            if name not in self.expected:
                self.expected.append(name)
                self.problems.pop("store", None)
            return True

    async def load(self, name: str) -> bool:
        """Serve a model that was unloaded, or its current version; True if that is served."""
        self.unloaded.discard(name)
        return await self.refresh(name)

    async def unload(self, name: str) -> None:
        """Serve a model no more, whatever is published, until it is loaded again."""
        self.unloaded.add(name)
        async with self._loading.setdefault(name, asyncio.Lock()):
            if name not in self.unloaded:
                return
            self.problems.pop(name, None)
            if name in self.expected:
                self.expected.remove(name)
            served = self._served.pop(name, None)
            if served is not None:
                manifest = served.engine.manifest
                metrics.MODEL_INFO.labels(name, manifest.version, manifest.kind).set(0)
                log.info("%s is unloaded", name)
                served.replaced = True
                self._close_if_done(served)

    def _load(self, name: str, version: str) -> Kind:
        model = load(
            self._store,
            name,
            version,
            provider=self._settings.provider,
            precision=self._settings.precision,
            warm_rows=(1, self._settings.max_batch_rows),
            device_memory_bytes=self._settings.arena_mib * 2**20,
        )
        kind = kinds().get(model.manifest.kind)
        if kind is None:
            raise ContractError(
                f"{model.label} is a {model.manifest.kind}; known kinds: {', '.join(kinds())}"
            )
        if model.invariance is not None and not model.invariance.holds:
            log.warning(
                "%s: rows differ with their company in %s: answers may depend on the batch",
                model.label,
                ", ".join(model.invariance.differing),
            )
        return kind(model, Bench(self._settings, self._lanes, ModelMetrics(name), self._cache))

    def _swap(self, name: str, engine: Kind, elapsed_s: float) -> None:
        before = self._served.get(name)
        self._served[name] = Served(engine)
        manifest = engine.manifest
        metrics.MODEL_INFO.labels(name, manifest.version, manifest.kind).set(1)
        log.info(
            "%s serves %s after %.2f s, in batches of up to %d rows",
            name,
            manifest.version,
            elapsed_s,
            engine.batcher.max_batch_rows,
        )
        if before is not None:
            metrics.SWAPS.labels(name).inc()
            old = before.engine.manifest
            metrics.MODEL_INFO.labels(name, old.version, old.kind).set(0)
            before.replaced = True
            self._close_if_done(before)

    def _close_if_done(self, served: Served) -> None:
        if served.replaced and served.leases == 0:
            # In a thread: closing waits for the engine's own threads.
            task = asyncio.ensure_future(_in_thread(served.engine.close))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close every version; called when no request is left."""
        for served in self._served.values():
            served.replaced = True
            self._close_if_done(served)
        await asyncio.gather(*self._closing)
        self._served.clear()


async def _in_thread(work: Callable[[], None]) -> None:
    await asyncio.get_running_loop().run_in_executor(None, work)
