"""Many swaps while everything is asked, and what they leave in memory."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from service.store import Store
from service.store.publisher import Publisher
from tests.e2e.load import PROBES, Load
from tests.e2e.server import WORKERS, Server, serving
from tests.service.variants import copy_store, move_weights, publish_variant

pytestmark = pytest.mark.anyio

NAME = "cifar10"


@pytest.fixture
def store(tiny_store: Path, tmp_path: Path) -> Store:
    return copy_store(tiny_store, tmp_path / "store")


@pytest.fixture
def server(store: Store, tmp_path: Path) -> Iterator[Server]:
    with serving(Path(store.home.location), tmp_path / "home") as running:
        running.wait_for("/readyz", 200)
        yield running


def workers(server: Server) -> list[psutil.Process]:
    """The processes that answer: those that have onnxruntime in memory."""
    found = []
    for child in psutil.Process(server.process.pid).children(recursive=True):
        try:
            if any("onnxruntime" in one.path for one in child.memory_maps()):
                found.append(child)
        except psutil.Error:
            continue
    return found


async def until_served(server: Server, name: str, version: str) -> None:
    """Until every worker says so: many fresh connections in a row."""
    agreed = 0
    async with asyncio.timeout(60):
        while agreed < 16:
            served = (await asyncio.to_thread(server.get, "/readyz")).json()["serving"]
            agreed = agreed + 1 if served.get(name) == version else 0


async def test_twenty_swaps_under_load_lose_nothing(
    server: Server, store: Store, tmp_path: Path
) -> None:
    """Publishing, rolling back and promoting, of all models in turn."""
    names = ("cifar10", "shakespeare", "cifar10-gan")
    first = {name: store.current(name) for name in names}
    load = Load(server.url)
    clients = [asyncio.ensure_future(load.client(turn)) for turn in range(16)]
    await load.until_answered(32)
    publisher = Publisher(store)
    swaps = 0
    for name in names:
        await asyncio.to_thread(publish_variant, store, name, "v2", tmp_path, change=move_weights)
        await until_served(server, name, "v2")
        swaps += 1
    while swaps < 20:
        name = names[swaps % len(names)]
        if store.current(name) == "v2":
            wanted = await asyncio.to_thread(publisher.roll_back, name)
        else:
            wanted = "v2"
            await asyncio.to_thread(publisher.promote, name, wanted)
        await until_served(server, name, wanted)
        swaps += 1
    load.stopping = True
    await asyncio.gather(*clients)
    assert load.failures == []
    print(f"{swaps} swaps, {load.answered} requests, {len(load.failures)} failed")
    for probe in PROBES:
        versions = {version for name, version in load.found if name == probe.name}
        assert versions <= {"v2", *first.values()}
        # What a version answers to the same request is always the same, and its own.
        contents = [load.found[probe.name, version] for version in sorted(versions)]
        assert [len(one) for one in contents] == [1] * len(versions), probe.name


@pytest.mark.timeout(600)
async def test_fifty_swaps_leave_no_more_memory_than_five(
    server: Server, store: Store, tmp_path: Path
) -> None:
    before = store.current(NAME)
    publish_variant(store, NAME, "v2", tmp_path, change=move_weights)
    publisher = Publisher(store)
    used: dict[int, list[int]] = {}
    for swap in range(1, 51):
        wanted = before if swap % 2 else "v2"
        await asyncio.to_thread(publisher.promote, NAME, wanted)
        await until_served(server, NAME, wanted)
        if swap in (5, 50):
            used[swap] = sorted(one.memory_full_info().uss for one in workers(server))
    assert len(used[50]) == WORKERS
    for early, late in zip(used[5], used[50], strict=True):
        print(f"{early / 2**20:.1f} MiB after 5 swaps, {late / 2**20:.1f} after 50")
        assert late <= 1.1 * early


async def test_a_worker_killed_in_the_middle_of_a_swap_is_replaced(
    server: Server, store: Store, tmp_path: Path
) -> None:
    def pids() -> list[int]:
        return [one.pid for one in workers(server)]

    victim = workers(server)[0]
    await asyncio.to_thread(publish_variant, store, NAME, "v2", tmp_path, change=move_weights)
    os.kill(victim.pid, signal.SIGKILL)
    await until_served(server, NAME, "v2")
    async with asyncio.timeout(60):
        while victim.pid in pids() or len(pids()) < WORKERS:  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.1)  # another process changes
    await until_served(server, NAME, "v2")
    load = Load(server.url)
    clients = [asyncio.ensure_future(load.client(turn)) for turn in range(4)]
    await load.until_answered(18)
    load.stopping = True
    await asyncio.gather(*clients)
    assert load.failures == []
