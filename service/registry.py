"""Which version of each model is served, and how one takes over from another.

A version that cannot be loaded is never served: the one before it goes on, and the failure is
logged, counted and shown. Where there is none before it, at the start, the last good one of the
store serves; and where the store is away, the copy of this machine.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TypeVar

from service import metrics
from service.backoff import until_done
from service.cache import Cache
from service.contest import Contest
from service.engine import load_engine
from service.errors import ContractError, StoreAwayError
from service.kinds.base import Kind
from service.lanes import Lanes
from service.lease import Served
from service.lender import Lender
from service.settings import Settings
from service.store import Store
from service.store.trial import read_trial

T = TypeVar("T")

log = logging.getLogger("triptych.registry")


class Registry(Lender):
    """The served versions. Used from one event loop only."""

    def __init__(self, settings: Settings, store: Store, lanes: Lanes) -> None:
        super().__init__()
        self._settings = settings
        self._store = store
        self._lanes = lanes
        self._cache = Cache(settings.cache_mib * 2**20)
        self._retries: dict[str, asyncio.Task[None]] = {}
        self._loading: dict[str, asyncio.Lock] = {}
        self.opening = True
        """Whether it is not yet known what the store has."""

    async def open(self) -> None:
        """Load the current version of every model, all at once."""
        in_thread = asyncio.get_running_loop().run_in_executor
        try:
            names = await in_thread(None, self._store.names)
        except ContractError as error:
            names = sorted(self._store.remembered()) if isinstance(error, StoreAwayError) else []
            going_on = f"; serving the copies of {', '.join(names)} here" if names else ""
            log.error("%s%s", error, going_on)
            self.problems["store"] = str(error)
            if not names:
                self.opening = False
                return
        self.opening = False
        self.expected[:] = [name for name in names if name not in self.unloaded]
        if not names:
            self.problems["store"] = f"no model is published in {self._store.home.location}"
            log.error("%s", self.problems["store"])
        for name in self.expected:
            # Series that exist from the start: an increase from nothing is not seen.
            metrics.LOAD_FAILURES.labels(name)
            metrics.SWAPS.labels(name)
        await asyncio.gather(*(self.refresh(name, starting=True) for name in self.expected))

    async def follow(self) -> None:
        """Swap whenever CURRENT is replaced, until cancelled."""
        try:
            async for names in self._store.changes():
                self.problems.pop("store", None)
                for name in sorted(names):
                    await self.refresh(name)
        except Exception as error:  # no watches left, or none on this file system
            self.problems["store"] = f"new versions are not followed: {error}"
            log.error("%s", self.problems["store"])

    async def refresh(self, name: str, *, starting: bool = False) -> bool:
        """Serve the version that CURRENT names; True if it is served afterwards. `starting`: where
        it cannot be, and nothing is served, serve the last that can.
        """
        async with self._loading.setdefault(name, asyncio.Lock()):
            if name in self.unloaded:
                return False
            served = self._served.get(name)
            try:
                await self._serve(name, await self._in_thread(self._store.current, name))
                await self._hold_trial(name)
            except Exception as error:  # whatever it is, the version before it goes on
                self.problems[name] = str(error)
                metrics.LOAD_FAILURES.labels(name).inc()
                if served is None and starting:
                    await self._fall_back(name, error)
                served = self._served.get(name)
                going_on = f"; {served.engine.manifest.version} goes on" if served else ""
                log.error("%s is not served: %s%s", name, error, going_on)
                if isinstance(error, StoreAwayError):
                    self._try_again(name)
                return False
            self.problems.pop(name, None)
            if name not in self.expected:
                self.expected.append(name)
                self.problems.pop("store", None)
            return True

    async def _serve(self, name: str, version: str) -> None:
        """Load a version and swap to it, unless it is served already."""
        served = self._served.get(name)
        if served is not None and served.engine.manifest.version == version:
            return
        start_s = time.perf_counter()
        contest = self._contests.get(name)
        if contest is not None and contest.trial.version == version:
            self._contests.pop(name).end()
            taken = contest.candidate  # loaded, warm and proven by what it answered
        else:
            taken = Served(await self._in_thread(self._load, name, version))
        self._swap(name, taken, time.perf_counter() - start_s)

    async def _fall_back(self, name: str, error: Exception) -> None:
        """With nothing to serve: the copy of this machine if the store is away, else the last good
        version of the store.
        """
        try:
            if isinstance(error, StoreAwayError):
                found = self._store.remembered().get(name)
                versions = [found] if found else []
            else:
                broken = await self._in_thread(self._store.current, name)
                versions = await self._in_thread(self._store.fallbacks, name, broken)
        except ContractError:
            return
        for version in versions:
            try:
                await self._serve(name, version)
            except ContractError as worse:
                log.error("%s: neither is %s: %s", name, version, worse)
            else:
                return

    def _try_again(self, name: str) -> None:
        """Refresh a model until the store answers."""

        async def refreshed() -> bool:
            return name in self.unloaded or await self.refresh(name)

        async def again() -> None:
            await until_done(refreshed)
            del self._retries[name]

        if name not in self._retries:
            self._retries[name] = asyncio.create_task(again())

    async def _hold_trial(self, name: str) -> None:
        """Begin the trial that the store tells of, or end the one that it no longer does."""
        trial, blob = await self._in_thread(read_trial, self._store.home, name)
        served, contest = self._served[name], self._contests.get(name)
        if contest is not None and contest.trial == trial and contest.incumbent is served:
            return
        self._drop_contest(name)
        serving = served.engine.manifest.version
        if trial is None or blob is None or not trial.running or trial.against != serving:
            return
        candidate = Served(await self._in_thread(self._load, name, trial.version))
        log.info("%s: %s of %s begins", name, trial.mode, trial.version)
        contest = Contest(self._store, name, trial, blob, served, candidate)
        self._contests[name] = contest
        contest.begin()

    def _drop_contest(self, name: str) -> None:
        contest = self._contests.pop(name, None)
        if contest is not None:
            contest.end()
            self.retire(contest.candidate)

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(None, work, *arguments)

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
            self._drop_contest(name)
            served = self._served.pop(name, None)
            if served is not None:
                manifest = served.engine.manifest
                metrics.MODEL_INFO.labels(name, manifest.version, manifest.kind).set(0)
                log.info("%s is unloaded", name)
                self.retire(served)

    def _load(self, name: str, version: str) -> Kind:
        return load_engine(self._store, name, version, self._settings, self._lanes, self._cache)

    def _swap(self, name: str, taken: Served, elapsed_s: float) -> None:
        before = self._served.get(name)
        self._served[name] = taken
        engine, manifest = taken.engine, taken.engine.manifest
        metrics.MODEL_INFO.labels(name, manifest.version, manifest.kind).set(1)
        metrics.QUEUE_LIMIT_ROWS.labels(name).set(self._settings.max_queue_rows)
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
            self.retire(before)

    async def close(self) -> None:
        """Close every version; called when no request is left."""
        for task in self._retries.values():
            task.cancel()
        for contest in self._contests.values():
            contest.end()
        for served in (*self._served.values(), *(c.candidate for c in self._contests.values())):
            self.retire(served)
        await self.retired()
        self._served.clear()
