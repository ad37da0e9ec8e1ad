"""Triton's repository extension: which models there are, and loading and unloading them.

A request to load or unload reaches one worker. It leaves word in a folder that the server's
workers share, and every worker, also one that starts later, does what the last word on a model
says. The folder is in the one of the metrics, which is emptied when the server starts: a restart
loads everything.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import uuid
from pathlib import Path
from typing import Any

from watchfiles import Change, awatch

from service.errors import ContractError, NotReadyError, UnknownNameError
from service.registry import Registry
from service.store import Store

log = logging.getLogger("triptych.repository")
_LOADED, _UNLOADED = "loaded", "unloaded"


def index(registry: Registry, store: Store, *, ready: bool) -> list[dict[str, Any]]:
    """Every model with its state, `READY`, `LOADING` or `UNAVAILABLE`, and why.

    Args:
        registry, store: what is served, and what there is.
        ready: list only models that are ready.

    """
    serving = {engine.manifest.name: engine.manifest.version for engine in registry.engines()}
    entries: list[dict[str, Any]] = []
    for name in _names(registry, store):
        reason = registry.problems.get(name, "")
        if name in serving:
            state = "READY"
        elif name in registry.unloaded:
            state, reason = "UNAVAILABLE", reason or "unloaded"
        elif reason or name not in registry.expected:
            state = "UNAVAILABLE"
        else:
            state = "LOADING"
        if state == "READY" or not ready:
            version = serving.get(name, "")
            entries.append({"name": name, "version": version, "state": state, "reason": reason})
    return entries


def _names(registry: Registry, store: Store) -> list[str]:
    known = {*registry.expected, *registry.unloaded}
    known |= {engine.manifest.name for engine in registry.engines()}
    with contextlib.suppress(ContractError):  # the store is gone; what is loaded goes on
        known |= set(store.names())
    return sorted(known)


def shared_folder() -> Path:
    """Where this server's workers leave word; a new one of this process' own if it is alone."""
    metrics = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(metrics) / "control" if metrics else Path(tempfile.mkdtemp(prefix="triptych-"))


class Control:
    """Loads and unloads, on every worker that shares `folder`. Used from one event loop only."""

    def __init__(self, registry: Registry, store: Store, folder: Path) -> None:
        self._registry = registry
        self._store = store
        self._folder = folder
        self._done: dict[str, str] = {}
        """The last word that this worker acted on, by model."""
        folder.mkdir(parents=True, exist_ok=True)

    def recall(self) -> None:
        """Before the models load: leave out those that were unloaded before this worker came."""
        for path in self._folder.iterdir():
            if not path.name.startswith("."):
                word = path.read_text(encoding="utf-8")
                self._done[path.name] = word
                if word.startswith(_UNLOADED):
                    self._registry.unloaded.add(path.name)

    async def follow(self) -> None:
        """Do what other workers were asked to, until cancelled."""

        def is_word(change: Change, path: str) -> bool:
            return change is not Change.deleted and not Path(path).name.startswith(".")

        try:
            async for changed in awatch(self._folder, watch_filter=is_word, step=50, debounce=200):
                for name in sorted({Path(path).name for _, path in changed}):
                    await self._obey(name)
        except Exception as error:  # no watches left, or the folder is gone
            log.error("loads and unloads asked of other workers are not followed: %s", error)

    async def load(self, name: str) -> None:
        """Serve the model's current version, here by the time this returns.

        Raises:
            UnknownNameError: the store has no such model.
            NotReadyError: the version cannot be served; the message says why.

        """
        self._leave_word(name, _LOADED)
        if not await self._obey(name):
            raise NotReadyError(f"{name} is not served: {self._registry.problems.get(name)}")

    async def unload(self, name: str) -> None:
        """Serve the model no more; requests in flight finish. Raises UnknownNameError."""
        self._leave_word(name, _UNLOADED)
        await self._obey(name)

    def _leave_word(self, name: str, wanted: str) -> None:
        known = _names(self._registry, self._store)
        if name not in known:
            raise UnknownNameError(
                f"the store has no model {name!r}; there is {', '.join(known) or 'none'}"
            )
        partial = self._folder / f".{name}-{uuid.uuid4().hex}"
        partial.write_text(f"{wanted} {uuid.uuid4().hex}", encoding="utf-8")
        partial.replace(self._folder / name)

    async def _obey(self, name: str) -> bool:
        """Do what the last word says, once; True unless loading failed."""
        word = (self._folder / name).read_text(encoding="utf-8")
        if self._done.get(name) == word:
            return True
        self._done[name] = word
        if word.startswith(_UNLOADED):
            await self._registry.unload(name)
            return True
        return await self._registry.load(name)
