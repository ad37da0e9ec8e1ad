"""BentoML's endpoints work for their callers: deadlines, priorities, and clients that leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bentoml._internal.server.http.traffic import TimeoutMiddleware
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.batcher import Batcher
from service.http.front import Front
from service.kinds.gan import Gan
from service.kinds.lstm import Lstm
from service.runtime import Runtime
from service.settings import Settings
from tests.service.http.client import Visitor, http, requests_counted, running

pytestmark = pytest.mark.anyio


class Sample(BaseModel):
    labels: list[str] = []


class Generate(BaseModel):
    prompt: str
    max_tokens: int = 200


ENDPOINTS: dict[str, tuple[type[BaseModel], Callable[..., Any]]] = {
    "/sample": (Sample, Gan.endpoint()),
    "/generate": (Generate, Lstm.endpoint()),
}


def bento(runtime: Runtime) -> ASGIApp:
    """Endpoints as BentoML runs them: under its timeout, which runs them in a task of its own."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        asked = json.loads(await Request(scope, receive).body())
        _, endpoint = ENDPOINTS[scope["path"]]
        found = await endpoint(SimpleNamespace(runtime=runtime), **asked)
        answer = found if isinstance(found, Response) else JSONResponse(found)
        await answer(scope, receive, send)

    return TimeoutMiddleware(application, timeout=20)  # type: ignore[return-value,arg-type]


@pytest.fixture
async def service(tiny_store: Path) -> AsyncIterator[tuple[Runtime, Front]]:
    settings = Settings(store=tiny_store, threads=1, watch=False, max_tokens=100_000)
    async with running(settings) as (runtime, _):
        specs = {path: spec for path, (spec, _) in ENDPOINTS.items()}
        yield runtime, Front([], bento(runtime), specs, settings)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def hold(runtime: Runtime) -> None:
    """Take the only lane: nothing can run until it is released."""
    held: list[None] = []
    runtime.lanes.ask(lambda: held.append(None))
    await until(lambda: held)


def batcher(runtime: Runtime) -> Batcher:
    with runtime.registry.lease(Gan, None) as gan:
        return gan.batcher


SAMPLE = b'{"labels": ["cat", "dog"]}'
TYPE = {"content-type": "application/json"}


async def test_rows_of_a_client_that_left_are_taken_out(service: tuple[Runtime, Front]) -> None:
    runtime, front = service
    counted = requests_counted("bentoml.sample", "cancelled")
    await hold(runtime)
    visitor = Visitor("/sample", SAMPLE, TYPE)
    visit = asyncio.ensure_future(visitor.visit(front))
    await until(lambda: batcher(runtime).queued_rows == 2)
    visitor.leaving.set()
    await asyncio.wait_for(visit, 20)
    await until(lambda: batcher(runtime).queued_rows == 0)
    assert requests_counted("bentoml.sample", "cancelled") == counted + 1
    assert visitor.sent == []
    runtime.lanes.release()
    async with http(front) as client:
        answer = await client.post("/sample", content=SAMPLE, headers=TYPE)
    assert [image["label"] for image in answer.json()["images"]] == ["cat", "dog"]


async def test_a_text_whose_client_left_is_let_go(service: tuple[Runtime, Front]) -> None:
    _, front = service
    counted = requests_counted("bentoml.generate", "cancelled")
    visitor = Visitor("/generate", b'{"prompt": "a", "max_tokens": 100000}', TYPE)
    visit = asyncio.ensure_future(visitor.visit(front))
    await asyncio.sleep(0.05)
    visitor.leaving.set()
    await asyncio.wait_for(visit, 20)
    await until(lambda: requests_counted("bentoml.generate", "cancelled") == counted + 1)


async def test_a_client_that_leaves_at_once_costs_nothing(service: tuple[Runtime, Front]) -> None:
    runtime, front = service
    ok = requests_counted("bentoml.sample", "ok")
    await hold(runtime)
    visitor = Visitor("/sample", SAMPLE, TYPE)
    visitor.leaving.set()
    await asyncio.wait_for(visitor.visit(front), 20)
    await asyncio.sleep(0.02)
    assert batcher(runtime).queued_rows == 0
    runtime.lanes.release()
    assert requests_counted("bentoml.sample", "ok") == ok


async def test_a_deadline_is_the_clients_own(service: tuple[Runtime, Front]) -> None:
    runtime, front = service
    await hold(runtime)
    async with http(front) as client:
        answer = await client.post(
            "/sample", content=SAMPLE, headers=TYPE | {"x-request-timeout-ms": "20"}
        )
    runtime.lanes.release()
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "deadline_exceeded"


async def test_the_urgent_go_first(service: tuple[Runtime, Front]) -> None:
    runtime, front = service
    await hold(runtime)
    order: list[str] = []

    async def ask(client: Any, priority: str) -> None:
        headers = TYPE | {"x-request-priority": priority}
        # As many rows as a run takes, so that each request has runs of its own.
        body = json.dumps({"labels": ["cat"] * runtime.settings.max_batch_rows})
        answer = await client.post("/sample", content=body, headers=headers)
        assert answer.status_code == 200
        order.append(priority)

    async with http(front) as client, asyncio.TaskGroup() as group:
        for index, priority in enumerate(("3", "2", "1"), start=1):
            group.create_task(ask(client, priority))
            rows = index * runtime.settings.max_batch_rows
            await until(lambda rows=rows: batcher(runtime).queued_rows == rows)
        runtime.lanes.release()
    assert order == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("header", "content"), [("x-request-timeout-ms", "soon"), ("x-request-priority", "4")]
)
async def test_malformed_headers_are_refused(
    service: tuple[Runtime, Front], header: str, content: str
) -> None:
    _, front = service
    async with http(front) as client:
        answer = await client.post("/sample", content=SAMPLE, headers=TYPE | {header: content})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == header
