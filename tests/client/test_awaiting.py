"""What a client for asyncio has to do beyond what a blocking one does."""

from __future__ import annotations

import asyncio

import pytest

from tests.client.scripted import scripted, trickle
from triptych.client import AsyncClient

pytestmark = pytest.mark.anyio


async def test_cancelling_a_task_closes_its_connection() -> None:
    with scripted(trickle) as server:
        async with AsyncClient(server.url) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await client.models()
            assert await asyncio.to_thread(server.left.wait, 10)


async def test_leaving_batches_ends_those_under_way() -> None:
    with scripted(trickle, trickle) as server:
        async with AsyncClient(server.url) as client:
            found = client.classify_many([b"a", b"b"], batch_images=1, concurrency=2)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await anext(found)
            assert await asyncio.to_thread(server.left.wait, 10)
            assert len(server.requests) == 2
