"""`triptych.client` beside plain requests to the same service: the same answers, to the bit."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.client.scripted import KINDS, ask
from tests.e2e.server import Server, serving
from tests.e2e.test_metrics import scrape, value
from tests.pictures import picture
from triptych.client import (
    AsyncClient,
    Client,
    DeadlineExceededError,
    InvalidInputError,
    NotFoundError,
    OverloadedError,
    TooLargeError,
)

both = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def narrow(store_copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that writes one text at a time, of any length, and lets one other wait."""
    limits = {"max_batch_rows": 1, "max_queue_rows": 1, "max_tokens": 10_000_000, "workers": 1}
    with serving(store_copy, tmp_path_factory.mktemp("narrow"), **limits) as running:
        running.wait_for("/readyz", 200)
        yield running


def array_of(png: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    with Image.open(io.BytesIO(png)) as image:
        return np.array(image)


@both
def test_an_image_in_any_form_gets_the_same_answer(
    kind: str, server: Server, tmp_path: Path
) -> None:
    png = picture(3)
    path = tmp_path / "a.png"
    path.write_bytes(png)
    plain = server.post("/v1/classify?top_k=3&explain=true", content=png).json()
    (expected,) = plain["predictions"]
    for image in (path, str(path), png, array_of(png), Image.open(path), io.BytesIO(png)):
        found = ask(kind, server.url, "classify", image, top_k=3, explain=True)
        assert (found.model, found.version) == (plain["model"], plain["version"])
        (one,) = found
        assert (one.label, one.index, one.score) == tuple(
            expected[name] for name in ("label", "index", "score")
        )
        assert [score.label for score in one.top] == [row["label"] for row in expected["top"]]
        assert [list(row) for row in one.heatmap] == expected["heatmap"]


@both
def test_more_images_than_a_request_may_hold(kind: str, server: Server) -> None:
    images = [picture(seed) for seed in range(20)]  # the server takes 8
    found = ask(kind, server.url, "classify_many", images, top_k=1)
    alone = [server.post("/v1/classify?top_k=1", content=image).json() for image in images]
    assert [one.score for one in found] == [one["predictions"][0]["score"] for one in alone]
    with pytest.raises(TooLargeError, match="more than 8 files"):
        ask(kind, server.url, "classify", images)


@both
def test_one_bad_image_among_many(kind: str, server: Server) -> None:
    images = [picture(seed) for seed in range(7)]
    images[4] = b"no picture"
    found = ask(kind, server.url, "classify_each", images, batch_images=5)
    assert [isinstance(one, InvalidInputError) for one in found] == [row == 4 for row in range(7)]
    assert (found[4].param, found[4].status) == ("images[4]", 422)


@both
def test_a_text_whole_and_streamed(kind: str, server: Server) -> None:
    asked: dict[str, Any] = {"max_tokens": 300, "temperature": 0.8, "seed": 5, "stop": ["zzz"]}
    plain = server.post("/v1/completions", json={"prompt": "The ", **asked}).json()
    whole = ask(kind, server.url, "generate", "The ", **asked)
    assert (whole.text, whole.seed) == (plain["choices"][0]["text"], 5)
    assert whole.usage.completion_tokens == plain["usage"]["completion_tokens"]
    chunks = ask(kind, server.url, "stream", "The ", **asked)
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert chunks[-1].finish_reason == whole.choices[0].finish_reason


def test_a_stream_tells_who_writes_and_how_much(server: Server) -> None:
    with Client(server.url) as client:
        stream = client.stream(["The ", "a"], n=2, max_tokens=30, logprobs=1)
        texts = {0: "", 1: "", 2: "", 3: ""}
        for chunk in stream:
            texts[chunk.index] += chunk.text
            assert chunk.logprobs is not None
            assert "".join(chunk.logprobs.tokens) == chunk.text
        assert {len(text) for text in texts.values()} == {30}
        assert stream.usage is not None
        assert stream.usage.completion_tokens == 120
        again = client.generate(["The ", "a"], n=2, max_tokens=30, seed=stream.seed)
        assert [choice.text for choice in again.choices] == list(texts.values())
        assert (again.model, again.version) == (stream.model, stream.version)
        with pytest.raises(InvalidInputError, match="read once"), stream:
            pass


@both
def test_pictures_are_those_of_the_server_to_the_bit(kind: str, server: Server) -> None:
    asked: dict[str, Any] = {"n": 4, "seed": 11}
    labels = ["cat", "dog"]
    plain = server.post(
        "/v1/sample", json={"labels": labels, **asked}, headers={"accept": "application/json"}
    ).json()
    gallery = ask(kind, server.url, "sample", labels, **asked)
    assert [one.png for one in gallery] == [
        base64.b64decode(one["b64_json"]) for one in plain["images"]
    ]
    assert [one.label for one in gallery] == ["cat", "dog", "cat", "dog"]
    sheet = server.post("/v1/sample", json={"labels": labels, **asked, "columns": 2})
    grid = ask(kind, server.url, "grid", labels, columns=2, **asked)
    assert grid.png == sheet.content
    assert (grid.model, grid.version, grid.seed) == (plain["model"], plain["version"], 11)
    # The seed that the server drew draws the same again.
    drawn = ask(kind, server.url, "sample", "cat", n=2)
    again = ask(kind, server.url, "sample", "cat", n=2, seed=drawn.seed)
    assert drawn.images == again.images
    assert (np.array(drawn[0].image()) == array_of(drawn[0].png)).all()


@both
def test_tensors_in_and_out(kind: str, server: Server) -> None:
    image = array_of(picture(7))[None]
    found = ask(kind, server.url, "infer", "cifar10", {"image": image})
    plain = server.post("/v1/classify?top_k=1", content=picture(7)).json()["predictions"][0]
    probability = found["probability"]
    assert probability.dtype == np.float32
    assert int(probability[0].argmax()) == plain["index"]
    assert round(float(probability[0].max()), 6) == plain["score"]
    assert set(found.outputs) >= {"probability", "heatmap"}
    inputs = [
        {"name": "image", "datatype": "UINT8", "shape": image.shape, "data": image.ravel().tolist()}
    ]
    body = {"inputs": inputs, "outputs": [{"name": "heatmap"}]}
    as_json = server.post("/v2/models/cifar10/infer", json=body).json()["outputs"][0]
    one = ask(
        kind, server.url, "infer", "cifar10", {"image": image}, outputs=["heatmap"],
        version=found.version,
    )  # fmt: skip
    assert set(one.outputs) == {"heatmap"}
    assert one["heatmap"].ravel().tolist() == np.float32(as_json["data"]).tolist()
    with pytest.raises(InvalidInputError, match="image"):
        ask(kind, server.url, "infer", "cifar10", {"image": image.astype(np.float32)})
    with pytest.raises(NotFoundError):
        ask(kind, server.url, "infer", "none", {"image": image})


@both
def test_models_readiness_and_tokens(kind: str, server: Server) -> None:
    models = {model.id: model for model in ask(kind, server.url, "models")}
    assert {name: model.kind for name, model in models.items()} == {
        "cifar10": "cnn", "cifar10-gan": "gan", "shakespeare": "lstm",
    }  # fmt: skip
    assert [tensor.name for tensor in models["cifar10-gan"].inputs] == ["noise", "label"]
    found = ask(kind, server.url, "ready")
    assert found.ready
    assert found.serving == {name: model.version for name, model in models.items()}
    tokens = ask(kind, server.url, "tokenize", ["The ", "a"])
    assert [len(row) for row in tokens.rows] == [4, 1]
    assert ask(kind, server.url, "tokenize", "The ").rows == tokens.rows[:1]
    assert ask(kind, server.url, "detokenize", tokens.rows[0]) == "The "


@both
def test_the_server_says_what_is_wrong(kind: str, server: Server) -> None:
    with pytest.raises(NotFoundError, match="nobody") as missing:
        ask(kind, server.url, "generate", "a", model="nobody")
    assert (missing.value.status, missing.value.param) == (404, "model")
    with pytest.raises(InvalidInputError, match="top_k must be") as bad:
        ask(kind, server.url, "classify", picture(), top_k=99)
    assert (bad.value.param, bad.value.code) == ("top_k", "invalid_input")
    with pytest.raises(InvalidInputError) as undecodable:
        ask(kind, server.url, "classify", b"no picture")
    assert (undecodable.value.status, undecodable.value.param) == (422, "image")
    with pytest.raises(TooLargeError, match="limit is 1000") as large:
        ask(kind, server.url, "stream", "a", max_tokens=1001)
    assert large.value.param == "max_tokens"
    with pytest.raises(InvalidInputError, match="unicorn"):
        ask(kind, server.url, "sample", ["unicorn"])
    with pytest.raises(InvalidInputError, match="priority"):
        ask(kind, server.url, "generate", "a", priority=9)


def counted(server: Server, outcome: str) -> float:
    labels = {"model": "shakespeare", "route": "completions", "outcome": outcome}
    return value(scrape(server), "triptych_requests_total", **labels)


def waiting(server: Server) -> float:
    return value(scrape(server), "triptych_queue_rows", model="shakespeare")


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110  # another process changes
            await asyncio.sleep(0.05)


@both
def test_a_full_queue_is_waited_for_and_leaving_makes_room(kind: str, narrow: Server) -> None:
    async def go() -> None:
        asked: dict[str, Any] = {"max_tokens": 20, "timeout_s": 60.0}
        patient = {"max_retries": 1000}
        async with AsyncClient(narrow.url, max_retries=0) as client:
            async with client.stream("a", max_tokens=10_000_000) as running:
                await anext(running)
                second = asyncio.create_task(client.generate("a", seed=1, **asked))
                await until(lambda: waiting(narrow) == 1)
                with pytest.raises(OverloadedError) as full:
                    await client.generate("a", max_tokens=1)
                assert full.value.retry_after_s is not None
                assert full.value.retry_after_s >= 1
                assert (full.value.status, full.value.code) == (429, "overloaded")
                before, left = counted(narrow, "overloaded"), counted(narrow, "cancelled")
                third = asyncio.create_task(
                    asyncio.to_thread(
                        ask, kind, narrow.url, "generate", "a", seed=2, client=patient, **asked
                    )
                )
                await until(lambda: counted(narrow, "overloaded") > before)
            assert len((await second).text) == 20
            assert len((await third).text) == 20
            await until(lambda: counted(narrow, "cancelled") == left + 1)

    asyncio.run(go())


@both
def test_a_deadline_ends_the_work_on_the_server_too(kind: str, narrow: Server) -> None:
    for method in ("generate", "stream"):
        with pytest.raises(DeadlineExceededError):
            ask(kind, narrow.url, method, "a", max_tokens=10_000_000, timeout_s=0.4)
    # Nothing is left that would keep this one waiting.
    assert len(ask(kind, narrow.url, "generate", "a", max_tokens=5).text) == 5
