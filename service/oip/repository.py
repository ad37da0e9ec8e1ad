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
from typing import Any, Literal

import msgspec
from watchfiles import Change, awatch

from service.errors import ContractError, DisabledError, NotReadyError, UnknownNameError
from service.registry import Registry
from service.store import Store

log = logging.getLogger("triptych.repository")


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
        elif reason or (name not in registry.expected and not registry.opening):
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
        known |= set(store.home.quick_names())
    return sorted(known)


def shared_folder(name: str = "control") -> Path:
    """Where this server's workers leave word; a new one of this process' own if it is alone."""
    metrics = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(metrics) / name if metrics else Path(tempfile.mkdtemp(prefix="triptych-"))


class _Word(msgspec.Struct, frozen=True):
    """The last that was asked of a model. Every asking has a `mark` of its own."""

    wanted: Literal["loaded", "unloaded"]
    mark: str
    unload: str = ""
    """The mark of the last unloading: who missed it has still to forget what it serves."""


_word = msgspec.json.Decoder(_Word)


class Control:
    """Loads and unloads, on every worker that shares `folder`. Used from one event loop only."""

    def __init__(self, registry: Registry, store: Store, folder: Path) -> None:
        self._registry = registry
        self._store = store
        self._folder = folder
        self._done: dict[str, _Word] = {}
        """The last word that this worker acted on, by model."""
        folder.mkdir(parents=True, exist_ok=True)

    def recall(self) -> None:
        """Before the models load: leave out those that were unloaded before this worker came."""
        for path in self._folder.iterdir():
            if not path.name.startswith("."):
                self._done[path.name] = word = _word.decode(path.read_bytes())
                if word.wanted == "unloaded":
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
        self._leave_word(name, "loaded")
        if not await self._obey(name):
            why = self._registry.problems.get(name, "it was unloaded again")
            raise NotReadyError(f"{name} is not served: {why}")

    async def unload(self, name: str) -> None:
        """Serve the model no more; requests in flight finish. Raises UnknownNameError."""
        self._leave_word(name, "unloaded")
        await self._obey(name)

    def _leave_word(self, name: str, wanted: Literal["loaded", "unloaded"]) -> None:
        known = _names(self._registry, self._store)
        if name not in known:
            raise UnknownNameError(
                f"the store has no model {name!r}; there is {', '.join(known) or 'none'}"
            )
        path = self._folder / name
        mark = uuid.uuid4().hex
        if wanted == "unloaded":
            unload = mark
        else:
            unload = _word.decode(path.read_bytes()).unload if path.exists() else ""
        partial = self._folder / f".{mark}"
        partial.write_bytes(msgspec.json.encode(_Word(wanted, mark, unload)))
        partial.replace(path)

    async def _obey(self, name: str) -> bool:
        """Do what the last word says, once; True unless loading failed."""
        word = _word.decode((self._folder / name).read_bytes())
        done = self._done.get(name)
        if done == word:
            return True
        self._done[name] = word
        if word.unload and (done is None or done.unload != word.unload):
            await self._registry.unload(name)
        return word.wanted == "unloaded" or await self._registry.load(name)


def control_of(control: Control | None) -> Control:
    """What loads and unloads models; raises DisabledError where clients may not."""
    if control is None:
        raise DisabledError(
            "loading and unloading models is off here; its operator sets "
            "TRIPTYCH_MODEL_CONTROL=true to allow it"
        )
    return control
