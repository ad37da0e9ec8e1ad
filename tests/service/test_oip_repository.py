"""Word that workers leave each other about what to serve."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from service.errors import DisabledError, NotReadyError, UnknownNameError
from service.kinds.cnn import Cnn
from service.lanes import Lanes
from service.oip.repository import Control, control_of, index
from service.registry import Registry
from service.settings import Settings
from service.store import Store
from tests.service.variants import copy_store, publish_variant, set_current

pytestmark = pytest.mark.anyio


@dataclass
class Worker:
    registry: Registry
    control: Control
    following: asyncio.Task[None]

    @property
    def serves(self) -> dict[str, str]:
        return {one.manifest.name: one.manifest.version for one in self.registry.engines()}


@pytest.fixture
def store(tiny_store: Path, tmp_path: Path) -> Store:
    return copy_store(tiny_store, tmp_path / "store")


@pytest.fixture
async def hire(store: Store, tmp_path: Path) -> AsyncIterator[Callable[[], Worker]]:
    """Make workers of one server."""
    lanes = Lanes(1)
    workers: list[Worker] = []

    def one() -> Worker:
        registry = Registry(Settings(store=store.home.location, max_batch_rows=4), store, lanes)
        control = Control(registry, store, tmp_path / "control")
        control.recall()
        workers.append(Worker(registry, control, asyncio.create_task(control.follow())))
        return workers[-1]

    yield one
    for worker in workers:
        worker.following.cancel()
        await asyncio.gather(worker.following, return_exceptions=True)
        await worker.registry.close()
    lanes.close()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110  # polled, as clients do
            await asyncio.sleep(0.01)


async def test_all_workers_unload_and_load(hire: Callable[[], Worker]) -> None:
    first, second = hire(), hire()
    await asyncio.gather(first.registry.open(), second.registry.open())
    await asyncio.sleep(0.3)  # until both watch
    await first.control.unload("cifar10")
    assert "cifar10" not in first.serves
    await until(lambda: "cifar10" not in second.serves)
    assert second.registry.ready
    with pytest.raises(NotReadyError, match="cifar10 is unloaded"):
        second.registry.lease_any("cifar10")
    with pytest.raises(NotReadyError, match="no cnn is loaded"):
        second.registry.lease(Cnn, None)
    await second.control.load("cifar10")
    assert "cifar10" in second.serves
    await until(lambda: "cifar10" in first.serves)


async def test_a_worker_that_comes_later_knows(hire: Callable[[], Worker]) -> None:
    first = hire()
    await first.registry.open()
    await first.control.unload("cifar10")
    later = hire()
    await later.registry.open()
    assert later.registry.ready
    assert set(later.serves) == {"cifar10-gan", "shakespeare"}


async def test_who_missed_the_unloading_forgets_all_the_same(
    hire: Callable[[], Worker], store: Store
) -> None:
    """Unload and a load that fails, faster than the other worker looks: no old version goes on."""
    first, second = hire(), hire()
    await asyncio.gather(first.registry.open(), second.registry.open())
    second.following.cancel()
    await first.control.unload("cifar10")
    set_current(store, "cifar10", "nowhere\n")
    with pytest.raises(NotReadyError, match="nowhere"):
        await first.control.load("cifar10")
    assert "cifar10" in second.serves
    second.following = asyncio.create_task(second.control.follow())
    await asyncio.sleep(0.3)  # until it watches
    with pytest.raises(NotReadyError, match="nowhere"):
        await first.control.load("cifar10")
    await until(lambda: "cifar10" not in second.serves)


async def test_what_is_published_waits_until_it_is_loaded(
    hire: Callable[[], Worker], store: Store, tmp_path: Path
) -> None:
    worker = hire()
    await worker.registry.open()
    await worker.control.unload("cifar10")
    publish_variant(store, "cifar10", "v2", tmp_path)
    assert not await worker.registry.refresh("cifar10")
    assert "cifar10" not in worker.serves
    await worker.control.load("cifar10")
    assert worker.serves["cifar10"] == "v2"


async def test_a_lease_outlives_the_unloading(hire: Callable[[], Worker]) -> None:
    worker = hire()
    await worker.registry.open()
    with worker.registry.lease(Cnn, None) as cnn:
        await worker.control.unload("cifar10")
        size = (1, *cnn.size, 3)
        answer = await cnn.batcher.submit(
            {"image": np.zeros(size, dtype=np.uint8)}, ("probability",), timeout_s=30
        )
        assert len(answer.outputs["probability"]) == 1


async def test_with_everything_unloaded_the_service_is_still_ready(
    hire: Callable[[], Worker], store: Store
) -> None:
    worker = hire()
    await worker.registry.open()
    for name in store.names():
        await worker.control.unload(name)
    assert worker.serves == {}
    assert worker.registry.ready
    states = index(worker.registry, store, ready=False)
    assert {(one["state"], one["reason"]) for one in states} == {("UNAVAILABLE", "unloaded")}
    assert index(worker.registry, store, ready=True) == []


async def test_the_index_before_and_while_models_load(
    hire: Callable[[], Worker], store: Store
) -> None:
    worker = hire()
    opening = asyncio.create_task(worker.registry.open())
    await asyncio.sleep(0)
    assert {one["state"] for one in index(worker.registry, store, ready=False)} == {"LOADING"}
    await opening
    assert {one["state"] for one in index(worker.registry, store, ready=True)} == {"READY"}


async def test_names_that_the_store_has_not(hire: Callable[[], Worker], tmp_path: Path) -> None:
    worker = hire()
    for name in ("nobody", "../cifar10", ""):
        with pytest.raises(UnknownNameError, match="there is cifar10"):
            await worker.control.unload(name)
    assert list((tmp_path / "control").iterdir()) == []


def test_control_is_off_unless_it_is_on() -> None:
    with pytest.raises(DisabledError, match="TRIPTYCH_MODEL_CONTROL=true"):
        control_of(None)
