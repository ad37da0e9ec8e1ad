"""Two replicas that share nothing but a bucket, and what happens when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import pytest

from service.store import Store, open_home
from service.store.publisher import Publisher
from tests.bucket import Unreliable, new_bucket, s3_server
from tests.e2e.load import Load
from tests.e2e.server import Server, serving
from tests.pictures import picture
from tests.service.variants import copy_store, make_variant, move_weights

pytestmark = pytest.mark.anyio

NAME = "cifar10"


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    with s3_server() as variables:
        yield variables


@pytest.fixture
def way(s3: dict[str, str]) -> Iterator[Unreliable]:
    made = Unreliable(s3["AWS_ENDPOINT_URL"])
    yield made
    made.close()


@pytest.fixture
def local(tiny_store: Path, tmp_path: Path) -> Store:
    return copy_store(tiny_store, tmp_path / "local")


@pytest.fixture
def location(
    s3: dict[str, str], local: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A bucket with the tiny models; the environment leads to it."""
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    made = new_bucket(s3)
    store = Store(open_home(made, cache_dir=tmp_path / "publisher"))
    for name in local.names():
        Publisher(store).publish(local.folder(name, local.current(name)), name)
    return made


def publish(location: str, local: Store, version: str, tmp_path: Path) -> None:
    """Publish a variant of the classifier in the bucket."""
    candidate = make_variant(local, NAME, version, tmp_path / version, change=move_weights)
    store = Store(open_home(location, cache_dir=tmp_path / "publisher"))
    Publisher(store).publish(candidate, NAME)


async def until_served(server: Server, version: str, timeout_s: float = 60) -> None:
    async with asyncio.timeout(timeout_s):
        while True:
            serving_now = (await asyncio.to_thread(server.get, "/readyz")).json()["serving"]
            if serving_now.get(NAME) == version:
                return
            await asyncio.sleep(0.05)


def replica(location: str, home: Path, cache: Path) -> object:
    return serving(
        location,
        home,
        workers=1,
        store_poll_s=0.3,
        store_cache=cache,  # type: ignore[arg-type]
    )


async def test_replicas_follow_the_bucket_under_load(
    location: str, local: Store, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        servers = [
            stack.enter_context(replica(location, tmp_path / f"home{n}", tmp_path / f"cache{n}"))  # type: ignore[arg-type]
            for n in range(2)
        ]
        loads, clients = [], []
        for server in servers:
            await asyncio.to_thread(server.wait_for, "/readyz", 200)
            loads.append(Load(server.url))
            clients += [asyncio.ensure_future(loads[-1].client(turn)) for turn in range(4)]
        for load in loads:
            await load.until_answered(9)
        await asyncio.to_thread(publish, location, local, "v2", tmp_path)
        for server in servers:
            await until_served(server, "v2")
        for load in loads:
            await load.until_answered(9)
            load.stopping = True
        await asyncio.gather(*clients)
        assert [load.failures for load in loads] == [[], []]
        for load in loads:
            assert ("classify", "v2") in load.found
            assert all(len(contents) == 1 for contents in load.found.values())


@pytest.mark.parametrize("failure", ["hang", "500"])
async def test_a_store_that_fails_costs_no_request(
    location: str,
    local: Store,
    way: Unreliable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: Literal["hang", "500"],
) -> None:
    direct = Store(open_home(location, cache_dir=tmp_path / "direct"))
    candidate = make_variant(local, NAME, "v2", tmp_path / "v2", change=move_weights)
    monkeypatch.setenv("AWS_ENDPOINT_URL", way.url)
    with replica(location, tmp_path / "home", tmp_path / "cache") as server:  # type: ignore[attr-defined]
        await asyncio.to_thread(server.wait_for, "/readyz", 200)
        first = server.get("/readyz").json()["serving"][NAME]
        way.set(failure)
        await asyncio.to_thread(Publisher(direct).publish, candidate, NAME)
        for _ in range(20):
            answer = await asyncio.to_thread(server.post, "/v1/classify", content=picture())
            assert (answer.status_code, answer.json()["version"]) == (200, first)
            assert server.get("/readyz").status_code == 200
            await asyncio.sleep(0.05)
        way.set("through")
        await until_served(server, "v2", 120)


async def test_a_new_process_starts_from_its_copies_while_the_store_is_away(
    location: str,
    local: Store,
    way: Unreliable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", way.url)
    with replica(location, tmp_path / "home", tmp_path / "cache") as server:  # type: ignore[attr-defined]
        await asyncio.to_thread(server.wait_for, "/readyz", 200)
        first = server.get("/readyz").json()["serving"]
    way.set("500")
    with replica(location, tmp_path / "again", tmp_path / "cache") as server:  # type: ignore[attr-defined]
        await asyncio.to_thread(server.wait_for, "/readyz", 200)
        assert server.get("/readyz").json()["serving"] == first
        assert server.post("/v1/classify", content=picture()).status_code == 200
        way.set("through")
        await asyncio.to_thread(publish, location, local, "v2", tmp_path)
        await until_served(server, "v2", 120)
