"""A worker's parts come up and go down together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from service.errors import NotReadyError
from service.kinds.cnn import Cnn
from service.runtime import Runtime
from service.settings import Settings
from service.store import Store
from tests.service.variants import copy_store, publish_variant

pytestmark = pytest.mark.anyio


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110  # polled, as probes do
            await asyncio.sleep(0.01)


async def until_ready(runtime: Runtime) -> None:
    await until(lambda: runtime.registry.ready)


def version(runtime: Runtime) -> str:
    with runtime.registry.lease(Cnn, None) as cnn:
        return cnn.manifest.version


async def test_it_loads_follows_and_closes(tiny_store: Path, tmp_path: Path) -> None:
    store = copy_store(tiny_store, tmp_path / "store")
    runtime = Runtime(Settings(store=store.home.location, threads=2))
    assert runtime.lanes.count == 2
    await runtime.start()
    await until_ready(runtime)
    publish_variant(store, "cifar10", "v2", tmp_path)
    await until(lambda: version(runtime) == "v2")
    await runtime.close()
    with pytest.raises(NotReadyError):
        version(runtime)


async def test_without_watching_a_new_version_is_left_alone(
    tiny_store: Path, tmp_path: Path
) -> None:
    store = copy_store(tiny_store, tmp_path / "store")
    runtime = Runtime(Settings(store=store.home.location, watch=False))
    await runtime.start()
    await until_ready(runtime)
    before = version(runtime)
    publish_variant(store, "cifar10", "v2", tmp_path)
    await asyncio.sleep(0.6)
    assert version(runtime) == before
    await runtime.close()


async def test_a_missing_store_is_no_crash(tmp_path: Path) -> None:
    runtime = Runtime(Settings(store=tmp_path / "nowhere"))
    await runtime.start()
    await until(lambda: runtime.registry.problems)
    assert not runtime.registry.ready
    await runtime.close()


async def test_it_takes_no_request_before_its_models_are_there(tiny_store: Path) -> None:
    """A worker that starts because another died must not refuse what its neighbours can answer."""
    runtime = Runtime(Settings(store=tiny_store))
    await runtime.start()
    assert runtime.registry.ready
    await runtime.close()


async def test_what_loads_for_long_says_so_and_closing_meanwhile_is_no_crash(
    tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.runtime.LOADING_UNSEEN_S", 0.0)
    runtime = Runtime(Settings(store=tiny_store))
    await runtime.start()
    assert not runtime.registry.ready
    await runtime.close()


async def test_a_watch_that_fails_keeps_nobody_from_being_served(
    tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the system's limit of watches is reached."""

    async def no_more_watches(_: Store) -> AsyncIterator[set[str]]:
        raise OSError("OS file watch limit reached")
        yield set()

    monkeypatch.setattr(Store, "changes", no_more_watches)
    runtime = Runtime(Settings(store=tiny_store))
    await runtime.start()
    await until_ready(runtime)
    assert "watch limit" in runtime.registry.problems["store"]
    await runtime.close()
