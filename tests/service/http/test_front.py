"""What reaches BentoML, what we answer ourselves, and what is refused before either."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

import httpx
import numpy as np
import pytest
from PIL import Image
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from service.errors import InvalidInputError
from service.http.exchange import framed
from service.http.front import Front
from service.kinds.gan import Gan
from service.metrics import RequestMeter
from service.runtime import Runtime
from service.settings import Settings
from tests.service.http.client import completion, http, requests_counted, running

pytestmark = pytest.mark.anyio

LIMITS = Settings(max_body_bytes=8192, max_images=2)


class Input(BaseModel):
    """An endpoint's input as BentoML describes it."""

    multipart_fields: ClassVar[list[str]] = ["images"]
    images: list[bytes]
    top_k: int = 5
    model: str = ""


async def behind(scope: Scope, receive: Receive, send: Send) -> None:
    """Says that it was reached, and how long a body it got."""
    body = await Request(scope, receive).body()
    await JSONResponse({"behind": scope["path"], "bytes": len(body)})(scope, receive, send)


async def ours(request: Request, meter: RequestMeter) -> Response:
    if request.query_params:
        raise InvalidInputError("no", field="query")
    if request.headers.get("x-fail"):
        raise RuntimeError("not planned")
    return Response("ours")


@pytest.fixture
def client() -> httpx.AsyncClient:
    routes = [
        Route("/v1/ours", framed("ours", ours), methods=["POST"]),
        Route("/v1/ours/{name}", framed("ours", ours)),
    ]
    return http(Front(routes, behind, {"/endpoint": Input}, LIMITS))


def problem(answer: httpx.Response, status: int, field: str | None) -> str:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["param"] == field
    message: str = error["message"]
    return message


async def test_our_routes_are_ours_and_the_rest_is_behind(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/ours")).text == "ours"
    assert (await client.get("/v1/ours/one")).text == "ours"
    assert (await client.get("/docs.json")).json()["behind"] == "/docs.json"
    assert (await client.get("/endpoint")).json()["behind"] == "/endpoint"


async def test_under_v1_nothing_is_behind(client: httpx.AsyncClient) -> None:
    assert "/v1/nowhere" in problem(await client.get("/v1/nowhere"), 404, None)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_a_method_that_is_not_taken(client: httpx.AsyncClient, method: str) -> None:
    answer = await client.request(method, "/v1/ours")
    assert "POST" in problem(answer, 405, None)
    assert answer.headers["allow"] == "POST"


async def test_requests_are_counted_by_outcome(client: httpx.AsyncClient) -> None:
    before = {outcome: requests_counted("ours", outcome) for outcome in ("ok", "invalid", "error")}
    await client.post("/v1/ours")
    problem(await client.post("/v1/ours?x=1"), 400, "query")
    message = problem(await client.post("/v1/ours", headers={"x-fail": "1"}), 500, None)
    assert "not planned" not in message
    for outcome, count in before.items():
        assert requests_counted("ours", outcome) == count + 1


IMAGES = {"images": ("a.png", b"bytes")}


async def test_a_sound_form_goes_through_whole(client: httpx.AsyncClient) -> None:
    answer = await client.post("/endpoint", files=IMAGES, data={"top_k": "3"})
    assert answer.json() == {
        "behind": "/endpoint",
        "bytes": int(answer.request.headers["content-length"]),
    }


async def test_an_endpoints_body_is_bounded(client: httpx.AsyncClient) -> None:
    answer = await client.post("/endpoint", files={"images": ("a.png", b"x" * 9000)})
    assert "8192 bytes" in problem(answer, 413, "body")


async def test_an_endpoints_files_are_counted(client: httpx.AsyncClient) -> None:
    files = [("images", (f"{number}.png", b"x")) for number in range(3)]
    assert "2 files" in problem(await client.post("/endpoint", files=files), 413, "files")


async def test_nothing_is_fetched_from_an_address(client: httpx.AsyncClient) -> None:
    files = {"images": (None, "http://127.0.0.1/secret.png")}
    answer = await client.post("/endpoint", files=files)
    assert "nothing is fetched" in problem(answer, 400, "images")


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"top_k": "three"}, "top_k"), ({"top_k": "9" * 5000}, "top_k"),
        ({"top_k": "[" * 3000}, "top_k"), ({"topk": "3"}, "topk"), ({"model": "[1]"}, "model"),
    ],
)  # fmt: skip
async def test_fields_of_a_form_are_checked(
    client: httpx.AsyncClient, data: dict[str, str], field: str
) -> None:
    answer = await client.post("/endpoint", files=IMAGES, data=data)
    problem(answer, 400, field)


async def test_a_file_in_place_of_a_field(client: httpx.AsyncClient) -> None:
    files = IMAGES | {"top_k": ("k.txt", b"\x89PNG")}
    assert "not a file" in problem(await client.post("/endpoint", files=files), 400, "top_k")
    unknown = IMAGES | {"picture": ("k.txt", b"\x89PNG")}
    assert "there is images" in problem(
        await client.post("/endpoint", files=unknown), 400, "picture"
    )


async def test_a_form_without_its_files(client: httpx.AsyncClient) -> None:
    answer = await client.post("/endpoint", files={"top_k": (None, "3")})
    problem(answer, 400, "images")


@pytest.mark.parametrize(
    ("content", "status", "field"),
    [
        (b"", 400, "body"),
        (b"{", 400, "body"),
        (b"[1]", 400, "body"),
        (b"[" * 2000, 400, "body"),
        (b'{"images": ["http://127.0.0.1/"]}', 415, "images"),
        (b'{"top_k": 3}', 400, "images"),
        (b'{"topk": 3}', 400, "topk"),
    ],
)
async def test_json_for_an_endpoint_is_checked(
    client: httpx.AsyncClient, content: bytes, status: int, field: str
) -> None:
    headers = {"content-type": "application/json"}
    problem(await client.post("/endpoint", content=content, headers=headers), status, field)


@pytest.mark.parametrize(
    "content_type", ["application/vnd.bentoml+pickle", "image/png", "text/plain"]
)
async def test_other_content_types_are_refused(
    client: httpx.AsyncClient, content_type: str
) -> None:
    answer = await client.post("/endpoint", content=b"x", headers={"content-type": content_type})
    problem(answer, 415, "content-type")


@pytest.fixture
async def service(tiny_store: Path) -> AsyncIterator[tuple[Runtime, Front]]:
    settings = Settings(store=tiny_store, threads=1, watch=False, max_queue_rows=4, max_images=8)
    async with running(settings) as parts:
        yield parts


async def test_overload_is_refused_before_the_body_is_read(
    service: tuple[Runtime, Front],
) -> None:
    _, front = service
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(buffer, format="PNG")
    files = [("images", (f"{number}.png", buffer.getvalue())) for number in range(5)]
    async with http(front) as client:
        answer = await client.post("/v1/classify", files=files)
        assert "5 rows in a request; the limit is 4" in problem(answer, 413, None)
        answer = await client.post("/v1/sample", json={"labels": ["cat"], "n": 5})
        assert "5 rows" in problem(answer, 413, None)
        answer = await client.post("/v1/completions", content=completion(n=5))
        assert "5 sequences" in problem(answer, 413, None)


async def test_a_full_queue_answers_429_and_says_when_to_come_again(
    service: tuple[Runtime, Front],
) -> None:
    runtime, front = service
    held: list[None] = []
    runtime.lanes.ask(lambda: held.append(None))  # the only lane: nothing can run
    async with http(front) as client:
        four = client.post("/v1/sample", json={"labels": ["cat"], "n": 4, "seed": 1})
        waiting = asyncio.ensure_future(four)
        with runtime.registry.lease(Gan, None) as gan:
            async with asyncio.timeout(20):
                while gan.batcher.queued_rows < 4:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
        answer = await client.post("/v1/sample", json={"labels": ["cat"], "n": 1})
        assert "4 rows are waiting; the limit is 4" in problem(answer, 429, None)
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["error"]["type"] == "rate_limit_error"
        runtime.lanes.release()
        assert (await waiting).status_code == 200
    assert held
