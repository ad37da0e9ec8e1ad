"""What OpenAI's client makes of a service that is too busy, or not ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import openai
import pytest

from service.http.front import Front
from service.kinds.gan import Gan
from service.runtime import Runtime
from service.settings import Settings
from tests.service.http.client import running

pytestmark = pytest.mark.anyio


@pytest.fixture
async def service(tiny_store: Path) -> AsyncIterator[tuple[Runtime, Front]]:
    settings = Settings(store=tiny_store, threads=1, watch=False, max_queue_rows=2)
    async with running(settings) as parts:
        yield parts


@pytest.fixture
async def client(service: tuple[Runtime, Front]) -> AsyncIterator[openai.AsyncOpenAI]:
    transport = httpx2.ASGITransport(service[1])  # type: ignore[arg-type]
    async with openai.AsyncOpenAI(
        base_url="http://test/v1",
        api_key="none",
        max_retries=0,
        http_client=httpx2.AsyncClient(transport=transport),
    ) as made:
        yield made


async def test_a_full_queue_is_a_rate_limit(
    service: tuple[Runtime, Front], client: openai.AsyncOpenAI
) -> None:
    runtime, _ = service
    held: list[None] = []
    runtime.lanes.ask(lambda: held.append(None))  # the only lane: nothing can run
    two = asyncio.ensure_future(client.images.generate(prompt="a cat", n=2))
    with runtime.registry.lease(Gan, None) as gan:
        async with asyncio.timeout(20):
            while not held or gan.batcher.queued_rows < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    with pytest.raises(openai.RateLimitError) as refused:
        await client.images.generate(prompt="a cat")
    assert refused.value.code == "overloaded"
    assert int(refused.value.response.headers["retry-after"]) >= 1
    runtime.lanes.release()
    assert len((await two).data or []) == 2


async def test_a_passed_deadline_is_a_server_error(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as late:
        await client.completions.create(
            model="shakespeare",
            prompt="a" * 8000,
            max_tokens=4000,
            extra_headers={"x-request-timeout-ms": "1"},
        )
    assert late.value.code == "deadline_exceeded"
