"""Clients that leave and deadlines that pass: work stops, models are let go, requests counted."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from prometheus_client import REGISTRY

from service.errors import NotReadyError
from service.http.front import Front
from service.kinds.base import Kind
from service.kinds.cnn import Cnn
from service.kinds.gan import Gan
from service.kinds.lstm import Lstm
from service.runtime import Runtime
from service.sampling import SamplingParameters
from service.sequences import Prompt
from service.settings import Settings
from tests.service.http.client import Visitor, completion, http, requests_counted, running
from tests.service.variants import copy_store, publish_variant

pytestmark = pytest.mark.anyio

MANY_TOKENS = 100_000


@pytest.fixture
async def service(tiny_store: Path) -> AsyncIterator[tuple[Runtime, Front]]:
    async with running(Settings(store=tiny_store, threads=1, watch=False)) as parts:
        yield parts


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


MODELS = {"cnn": "cifar10", "gan": "cifar10-gan", "lstm": "shakespeare"}


def steps_counted(kind: str = "lstm") -> float:
    labels = {"model": MODELS[kind]}
    return REGISTRY.get_sample_value("triptych_inference_seconds_count", labels) or 0.0


def closed(lstm: Lstm) -> bool:
    try:
        lstm.stepper.submit(Prompt((1,), 0, SamplingParameters(), seed=0, row=0))
    except NotReadyError:
        return True
    return False


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("early", [False, True])
async def test_a_completion_whose_client_left_is_let_go(
    tiny_store: Path, tmp_path: Path, stream: bool, early: bool
) -> None:
    """Its text is not written to the end, and the version it used can be closed."""
    store = copy_store(tiny_store, tmp_path / "store")
    settings = Settings(store=store.home.location, max_tokens=MANY_TOKENS, watch=False)
    steps = steps_counted()
    async with running(settings) as (runtime, front):
        counted = requests_counted("completions", "cancelled")
        visitor = Visitor("/v1/completions", completion(max_tokens=MANY_TOKENS, stream=stream))
        if early:
            visitor.leaving.set()
        visit = asyncio.ensure_future(visitor.visit(front))
        if not early:
            if stream:
                await until(lambda: len(visitor.sent) > 3)
            else:
                await asyncio.sleep(0.02)
            visitor.leaving.set()
        await asyncio.wait_for(visit, 20)
        assert requests_counted("completions", "cancelled") == counted + 1
        with runtime.registry.lease(Lstm, None) as before:
            pass
        publish_variant(store, "shakespeare", "v2", tmp_path)
        await runtime.registry.refresh("shakespeare")
        await until(lambda: closed(before))
    assert steps_counted() - steps < MANY_TOKENS / 2


def tensors() -> bytes:
    image = {"name": "image", "shape": [1, 32, 32, 3], "datatype": "UINT8", "data": [0] * 3072}
    return json.dumps({"inputs": [image]}).encode()


@pytest.mark.parametrize(
    ("kind", "path", "counted_as", "body"),
    [
        (Cnn, "/v1/classify", "classify", png()),
        (Gan, "/v1/sample", "sample", b'{"n": 1}'),
        (Gan, "/v1/images/generations", "images", b'{"prompt": "a cat"}'),
        (Cnn, "/v2/models/cifar10/infer", "oip.infer", tensors()),
    ],
)
async def test_rows_of_a_client_that_left_are_taken_out(
    service: tuple[Runtime, Front], kind: type[Kind], path: str, counted_as: str, body: bytes
) -> None:
    runtime, front = service
    counted = requests_counted(counted_as, "cancelled")
    runs = steps_counted(kind.name)
    held: list[object] = []
    runtime.lanes.ask(lambda: held.append(None))  # the only lane: nothing can run
    await until(lambda: held)
    with runtime.registry.lease(kind, None) as engine:
        visitor = Visitor(path, body)
        visit = asyncio.ensure_future(visitor.visit(front))
        await until(lambda: engine.batcher.queued_rows == 1)
        visitor.leaving.set()
        await asyncio.wait_for(visit, 20)
        assert engine.batcher.queued_rows == 0
    assert requests_counted(counted_as, "cancelled") == counted + 1
    runtime.lanes.release()
    async with http(front) as client:
        assert (await client.post("/v1/classify", content=png())).status_code == 200
    assert steps_counted(kind.name) == runs + (kind is Cnn)  # nothing else has run


async def test_a_deadline_is_the_clients_own(service: tuple[Runtime, Front]) -> None:
    runtime, front = service
    counted = requests_counted("classify", "deadline")
    held: list[object] = []
    runtime.lanes.ask(lambda: held.append(None))
    await until(lambda: held)
    async with http(front) as client:
        answer = await client.post(
            "/v1/classify", content=png(), headers={"x-request-timeout-ms": "20"}
        )
    runtime.lanes.release()
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "deadline_exceeded"
    assert requests_counted("classify", "deadline") == counted + 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_completion_has_a_deadline_too(
    service: tuple[Runtime, Front], stream: bool
) -> None:
    _, front = service
    async with http(front) as client:
        answer = await client.post(
            "/v1/completions",
            content=completion(prompt="a" * 8192, max_tokens=4096, stream=stream),
            headers={"x-request-timeout-ms": "1"},
        )
        assert answer.status_code == 504
        after = await client.post("/v1/completions", content=completion())
        assert after.status_code == 200


@pytest.mark.parametrize("header", ["0", "-1", "1.5", "soon", "", "9" * 400])
async def test_a_malformed_deadline_is_refused(service: tuple[Runtime, Front], header: str) -> None:
    _, front = service
    async with http(front) as client:
        answer = await client.post(
            "/v1/classify", content=png(), headers={"x-request-timeout-ms": header}
        )
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "x-request-timeout-ms"
