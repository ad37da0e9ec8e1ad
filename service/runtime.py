"""What a worker is made of: settings, lanes, registry; and its life from start to drain."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor

from service import metrics
from service.lanes import Lanes
from service.oip.repository import Control, shared_folder
from service.registry import Registry
from service.session import Arena, Session, check_provider
from service.settings import Settings
from service.store import Store


def preflight(settings: Settings) -> None:
    """Find out, before any worker starts, whether the provider works on this machine.

    A CUDA build of onnxruntime lists its provider even where the driver is missing; loading a
    graph tells. Raises SettingsError.
    """
    check_provider(settings.provider)
    if settings.provider == "cuda":
        store = Store(settings.store)
        for name in store.names()[:1]:
            version = store.current(name)
            manifest = store.verified(name, version)
            Session(store.folder(name, version) / manifest.graph, provider="cuda")


class Runtime:
    """One worker's parts. `start` returns at once; `registry.ready` turns true when all is loaded.

    Raises:
        SettingsError: the provider cannot be had.

    """

    def __init__(self, settings: Settings) -> None:
        check_provider(settings.provider)
        Arena.share(settings.arena_mib * 2**20)
        self.settings = settings
        self.lanes = Lanes(settings.lanes)
        self.store = Store(settings.store)
        self.registry = Registry(settings, self.store, self.lanes)
        self.control = (
            Control(self.registry, self.store, shared_folder()) if settings.model_control else None
        )
        """Loads and unloads models on every worker; None where clients may not."""
        self.decoders = ThreadPoolExecutor(settings.lanes, thread_name_prefix="decode")
        """Where large images are decoded, off the event loop."""
        self._life: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to load, and then to follow the store."""
        metrics.forget_dead_workers()
        self._life = asyncio.create_task(self._live())

    async def _live(self) -> None:
        # Watch first: a version published while the models load must not go unnoticed.
        watching = self.settings.watch and self.settings.store.is_dir()
        async with asyncio.TaskGroup() as group:
            if self.control is not None:
                group.create_task(self.control.follow())
                self.control.recall()
            if watching:
                group.create_task(self.registry.follow())
            group.create_task(self.registry.open())

    async def close(self) -> None:
        """Stop following, close every model, stop the threads."""
        if self._life is not None:
            self._life.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._life
        await self.registry.close()
        self.lanes.close()
        self.decoders.shutdown()
