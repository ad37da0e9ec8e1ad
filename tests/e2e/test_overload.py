"""Twice and ten times as much as the service takes: what it accepts is answered right, the rest is
refused before any work, with a time to come again, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.bench.load.step import Demand, Place, run_step
from tests.bench.load.targets import find_targets
from tests.e2e.server import Server, serving
from tests.pictures import picture

ASKED = 40
TEXT = {"prompt": "The ", "max_tokens": 600}
QUEUE_ROWS = 3


@pytest.fixture(scope="module")
def narrow(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One worker that writes one text at a time, and lets three wait."""
    with serving(
        tiny_store, tmp_path_factory.mktemp("narrow"),
        workers=1, max_batch_rows=1, max_queue_rows=QUEUE_ROWS,
    ) as server:  # fmt: skip
        server.wait_for("/readyz", 200)
        yield server


@pytest.fixture(scope="module")
def brisk(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One worker whose queue is bounded by time: nobody waits for longer than 20 ms."""
    with serving(
        tiny_store, tmp_path_factory.mktemp("brisk"), workers=1, max_batch_rows=1, max_queue_ms=20
    ) as server:
        server.wait_for("/readyz", 200)
        yield server


async def burst(server: Server, count: int = ASKED) -> list[httpx.Response]:
    """So many texts at once, each with its own seed."""
    limits = httpx.Limits(max_connections=count)
    async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits) as client:
        return await asyncio.gather(
            *(client.post("/v1/completions", json=TEXT | {"seed": seed}) for seed in range(count))
        )


def check(answers: list[httpx.Response], server: Server) -> tuple[int, int]:
    """How many were answered, all as they would have been alone, and how many refused."""
    good = {seed: one for seed, one in enumerate(answers) if one.status_code == 200}
    refused = [one for one in answers if one.status_code == 429]
    assert len(good) + len(refused) == len(answers), [one.status_code for one in answers]
    for seed, answer in good.items():
        alone = server.post("/v1/completions", json=TEXT | {"seed": seed})
        assert answer.json()["choices"] == alone.json()["choices"]
    for answer in refused:
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["error"]["code"] == "overloaded"
    return len(good), len(refused)


def test_a_full_queue_refuses_and_answers_what_it_took(narrow: Server) -> None:
    answers = asyncio.run(burst(narrow))
    good, refused = check(answers, narrow)
    assert good >= QUEUE_ROWS
    assert refused > 0
    said = [one.json()["error"]["message"] for one in answers if one.status_code == 429]
    assert any("sequences are waiting; the limit is 3" in message for message in said)


def test_a_wait_that_would_be_too_long_is_refused(brisk: Server) -> None:
    """The pace is learnt from the first burst; in the second it decides."""
    asyncio.run(burst(brisk, 8))
    answers = asyncio.run(burst(brisk))
    good, refused = check(answers, brisk)
    assert good > 0
    assert refused > 0
    said = [one.json()["error"]["message"] for one in answers if one.status_code == 429]
    assert all("the limit is 0.02 s" in message for message in said)


def test_an_open_loop_far_beyond_loses_nothing(narrow: Server) -> None:
    """More texts than one at a time can be written: counts, not times."""
    port = httpx.URL(narrow.url).port
    assert port is not None
    models = narrow.get("/v1/models").json()["data"]
    text = find_targets(models, {})["completions"]
    place = Place("127.0.0.1", port, late_ms=60_000)
    point = run_step(place, Demand([text], [1.0]), 2000, 1.0)
    assert point["ok"] > 0
    assert point["refused"] > 0
    assert point["with_retry_after"] == point["refused"]
    assert point["ok"] + point["refused"] == point["sent"] == 2000
    part = point["parts"]["completions"]
    assert part["p99_ms"] is not None
    after = narrow.post("/v1/completions", json=TEXT | {"seed": 1})
    assert after.status_code == 200


def test_refused_images_are_not_decoded(narrow: Server) -> None:
    """Pictures large enough to be decoded on a thread, more at once than may wait: those that are
    refused would have been answered 422, had anyone looked at them.
    """
    large = picture(size=(600, 400))
    broken = large[: len(large) // 2]

    async def ask() -> list[int]:
        limits = httpx.Limits(max_connections=60)
        async with httpx.AsyncClient(base_url=narrow.url, timeout=60, limits=limits) as client:
            answers = await asyncio.gather(
                *(client.post("/v1/classify", content=broken) for _ in range(60))
            )
        for answer in answers:
            if answer.status_code == 429:
                assert int(answer.headers["retry-after"]) >= 1
        return [answer.status_code for answer in answers]

    statuses = asyncio.run(ask())
    assert set(statuses) <= {422, 429}
    assert statuses.count(422) >= QUEUE_ROWS
    assert statuses.count(429) > 0
    good = narrow.post("/v1/classify", content=large)
    assert good.status_code == 200
