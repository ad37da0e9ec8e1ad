"""From a version in the store to the engine of its kind."""

from __future__ import annotations

import logging

from service.cache import Cache
from service.errors import ContractError
from service.kinds import kinds
from service.kinds.base import Bench, Kind
from service.lanes import Lanes
from service.loading import load
from service.metrics import ModelMetrics
from service.settings import Settings
from service.store import Store

log = logging.getLogger("triptych.engine")


def load_engine(
    store: Store, name: str, version: str, settings: Settings, lanes: Lanes, cache: Cache
) -> Kind:
    """Load a version as `loading.load` does, and give it to its kind; blocks while it works.

    Raises:
        ContractError: a step failed, or no kind is called what the manifest says.

    """
    model = load(
        store,
        name,
        version,
        provider=settings.provider,
        precision=settings.precision,
        warm_rows=(1, settings.max_batch_rows),
        device_memory_bytes=settings.arena_mib * 2**20,
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
    return kind(model, Bench(settings, lanes, ModelMetrics(name), cache))
