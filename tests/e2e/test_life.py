"""Versions take over under load, broken ones do not, and the end drains."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.store import Store
from tests.e2e.load import PROBES, Load
from tests.e2e.server import WORKERS, Server, serving
from tests.pictures import picture
from tests.service.variants import (
    copy_store,
    make_variant,
    move_weights,
    publish_variant,
    set_current,
)

pytestmark = pytest.mark.anyio

MODELS = ("cifar10", "cifar10-gan", "shakespeare")


@dataclass(frozen=True)
class Living:
    """A server and the store that it follows."""

    server: Server
    store: Store

    def sample(self, name: str, **labels: str) -> float:
        text = self.server.get("/metrics").text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def served(self) -> dict[str, str]:
        found: dict[str, str] = self.server.get("/readyz").json()["serving"]
        return found

    async def until_served(self, **versions: str) -> None:
        """Until every worker says so: many fresh connections in a row."""
        wanted = {name.replace("_", "-"): version for name, version in versions.items()}
        agreed = 0
        async with asyncio.timeout(60):
            while agreed < 20:
                served = await asyncio.to_thread(self.served)
                agreed = agreed + 1 if wanted.items() <= served.items() else 0


@pytest.fixture(scope="module")
def living(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Living]:
    folder = tmp_path_factory.mktemp("living")
    store = copy_store(tiny_store, folder / "store")
    with serving(Path(store.home.location), folder / "home", max_tokens=1_000_000) as server:
        server.wait_for("/readyz", 200)
        yield Living(server, store)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110  # another process changes
            await asyncio.sleep(0.05)


async def test_versions_swap_under_load_without_a_failed_request(
    living: Living, tmp_path: Path
) -> None:
    before = living.served()
    swaps = living.sample("triptych_model_swaps_total")
    load = Load(living.server.url)
    clients = [asyncio.ensure_future(load.client(first)) for first in range(12)]
    await load.until_answered(60)
    for name in MODELS:
        await asyncio.to_thread(
            publish_variant, living.store, name, "v2", tmp_path, change=move_weights
        )
    await living.until_served(cifar10="v2", cifar10_gan="v2", shakespeare="v2")
    await load.until_answered(60)
    load.stopping = True
    await asyncio.gather(*clients)

    assert load.failures == []
    assert living.sample("triptych_model_swaps_total") - swaps == len(MODELS) * WORKERS
    for probe in PROBES:
        versions = {version for name, version in load.found if name == probe.name}
        assert len(versions) == 2, f"{probe.name} was answered by {versions}"
        assert "v2" in versions
        assert versions - {"v2"} <= set(before.values())
        contents = [load.found[probe.name, version] for version in sorted(versions)]
        # One content for each version, and another for the other: no mixture of the two.
        assert [len(one) for one in contents] == [1, 1], probe.name
        assert contents[0] != contents[1], probe.name
    for name, version in before.items():
        assert living.sample("triptych_model_info", model=name, version=version) == 0
        assert living.sample("triptych_model_info", model=name, version="v2") == 1


async def test_a_broken_version_is_refused_and_the_old_one_goes_on(
    living: Living, tmp_path: Path
) -> None:
    before = living.served()
    failures = living.sample("triptych_model_load_failures_total", model="cifar10")
    sound = living.server.post("/v1/classify", content=picture()).json()
    candidate = make_variant(living.store, "cifar10", "v3-broken", tmp_path / "candidate")
    (candidate / "model.onnx").write_bytes(b"broken")
    shutil.copytree(candidate, Path(living.store.home.location) / "cifar10" / "v3-broken")
    set_current(living.store, "cifar10", "v3-broken\n")
    await until(
        lambda: (
            living.sample("triptych_model_load_failures_total", model="cifar10")
            == failures + WORKERS
        )
    )
    for _ in range(10):
        answer = living.server.get("/readyz")
        assert answer.status_code == 200, "the version before it is sound"
        assert "v3-broken" in answer.json()["problems"]["cifar10"]
        assert answer.json()["serving"] == before
        assert living.server.post("/v1/classify", content=picture()).json() == sound
    assert "is not served" in living.server.log
    set_current(living.store, "cifar10", before["cifar10"] + "\n")
    await until(lambda: living.server.get("/readyz").json()["problems"] == {})


async def test_a_request_in_flight_ends_on_the_version_it_began_with(
    living: Living, tmp_path: Path
) -> None:
    before = living.served()["shakespeare"]
    asked = {"prompt": "a", "max_tokens": 4000, "seed": 2, "stream": True}
    async with (
        httpx.AsyncClient(base_url=living.server.url, timeout=60) as client,
        client.stream("POST", "/v1/completions", json=asked) as answer,
    ):
        lines = answer.aiter_lines()
        await anext(lines)
        await asyncio.to_thread(publish_variant, living.store, "shakespeare", "v4", tmp_path)
        await living.until_served(shakespeare="v4")
        rest = [line async for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    versions = {json.loads(line.removeprefix("data: "))["version"] for line in rest[:-1]}
    assert versions == {before}


async def test_sigterm_drains(living: Living) -> None:
    """Last: the server is gone afterwards."""
    asked = {"prompt": "a", "max_tokens": 40_000, "seed": 3, "stream": True}
    async with httpx.AsyncClient(base_url=living.server.url, timeout=60) as client:

        async def write(stream: bool) -> str:
            answer = await client.post("/v1/completions", json=asked | {"stream": stream})
            assert answer.status_code == 200
            return answer.text

        async with client.stream("POST", "/v1/completions", json=asked) as answer:
            lines = answer.aiter_lines()
            first = await anext(lines)
            others = [asyncio.ensure_future(write(stream)) for stream in (True, False)]
            await asyncio.sleep(0.3)
            living.server.process.send_signal(signal.SIGTERM)
            assert not any(other.done() for other in others), "nothing is left to drain"
            rest = [line async for line in lines if line]
        streamed, whole = await asyncio.gather(*others)
    assert rest[-1] == "data: [DONE]"
    assert streamed.rstrip().endswith("data: [DONE]")
    chunks = [json.loads(line.removeprefix("data: ")) for line in [first, *rest[:-1]]]
    text = "".join(chunk["choices"][0]["text"] for chunk in chunks)
    assert text == json.loads(whole)["choices"][0]["text"]
    assert len(text) == 40_000
    assert await asyncio.to_thread(living.server.process.wait, 60) == 0
    with pytest.raises(httpx.ConnectError):
        living.server.get("/livez")
