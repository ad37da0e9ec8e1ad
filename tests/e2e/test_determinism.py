"""The same request with the same seed gets the same bytes, whoever else is there."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.server import WORKERS, Server, serving
from tests.e2e.workers import requests_by_worker
from tests.int8 import quantise
from tests.pictures import picture
from tests.service.variants import copy_store, publish_variant

pytestmark = pytest.mark.anyio

COUNT = 2000
SECRETS = ("id", "created")
"""What differs between two answers by design."""


@dataclass(frozen=True)
class Asked:
    """A request, and what of its answer must repeat."""

    path: str
    options: dict[str, Any]
    kept: Callable[[httpx.Response], Any]


def content(answer: httpx.Response) -> Any:
    return answer.content


def body(answer: httpx.Response) -> Any:
    return {key: value for key, value in answer.json().items() if key not in SECRETS}


def draw(rng: random.Random) -> Asked:
    """One of few requests, so that each comes often."""
    which = rng.randrange(6)
    seed = rng.randrange(3)
    if which == 0:
        return Asked("/v1/classify?explain=true&top_k=10", {"content": picture(seed)}, content)
    if which == 1:
        files = [("images", (f"{index}", picture(index))) for index in range(seed, seed + 5)]
        return Asked("/v1/classify?top_k=10", {"files": files}, content)
    if which == 2:
        asked = {"prompt": "The " * (1 + 20 * seed), "max_tokens": 25, "seed": seed, "n": 2}
        return Asked("/v1/completions", {"json": asked | {"logprobs": 5}}, body)
    if which == 3:
        asked = {"prompt": "a", "max_tokens": 60, "seed": seed, "top_p": 0.8, "temperature": 0.7}
        return Asked("/v1/completions", {"json": asked}, body)
    if which == 4:
        return Asked("/v1/sample", {"json": {"n": 1 + 3 * seed, "seed": seed}}, content)
    return Asked("/sample", {"json": {"labels": ["cat"], "n": 2, "seed": seed}}, content)


def key(asked: Asked) -> str:
    return f"{asked.path} {sorted(asked.options.items())}"


@pytest.fixture(scope="module")
def quantised_server(
    tiny_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The same models with int8 weights and activations."""
    scratch = tmp_path_factory.mktemp("int8")
    store = copy_store(tiny_store, scratch / "store")
    for name in store.names():
        publish_variant(store, name, "int8", scratch, change=quantise)
    with serving(Path(store.home.location), scratch / "home") as running:
        running.wait_for("/readyz", 200)
        yield running


@pytest.mark.parametrize("which", ["server", "quantised_server"])
async def test_alone_and_among_thousands_the_bytes_are_the_same(
    which: str, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(which)
    rng = random.Random(1)
    requests = [draw(rng) for _ in range(COUNT)]
    alone: dict[str, Any] = {}
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        for asked in requests:
            if key(asked) not in alone:
                answer = await client.post(asked.path, **asked.options)
                assert answer.status_code == 200, answer.text
                alone[key(asked)] = asked.kept(answer)
    assert len(alone) == 18

    before = requests_by_worker(server.home)
    places = asyncio.Semaphore(40)
    # No connection is kept: each request is taken by whichever worker comes first.
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits) as client:

        async def one(asked: Asked) -> None:
            await asyncio.sleep(rng.random() * 2)
            async with places:
                answer = await client.post(asked.path, **asked.options)
            assert answer.status_code == 200, answer.text
            assert asked.kept(answer) == alone[key(asked)]

        await asyncio.gather(*(one(asked) for asked in requests))
    shares = {
        worker: count - before.get(worker, 0)
        for worker, count in requests_by_worker(server.home).items()
    }
    assert len(shares) == WORKERS
    assert sum(shares.values()) == COUNT
    assert min(shares.values()) > 0, f"one worker did everything: {shares}"


async def test_a_seed_that_is_not_given_is_not_shared(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        answers = await asyncio.gather(
            *(client.post("/v1/sample", json={"labels": ["cat"]}) for _ in range(20))
        )
    assert len({answer.headers["x-seed"] for answer in answers}) == 20
    assert len({answer.content for answer in answers}) == 20
