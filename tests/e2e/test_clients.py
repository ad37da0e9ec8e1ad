"""The clients that people have: BentoML's and OpenAI's."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import bentoml
import httpx
import openai
import pytest

from tests.e2e.server import Server
from tests.pictures import picture, size_of


@pytest.fixture
def bento(server: Server) -> Iterator[bentoml.SyncHTTPClient]:
    with bentoml.SyncHTTPClient(server.url) as client:
        yield client


def test_bentoml_classifies(bento: bentoml.SyncHTTPClient, server: Server, tmp_path: Path) -> None:
    paths = []
    for seed in range(3):
        paths.append(tmp_path / f"{seed}.png")
        paths[-1].write_bytes(picture(seed))
    found = bento.classify(images=paths, top_k=2, explain=True)
    files = [("images", path.read_bytes()) for path in paths]
    ours = server.post("/v1/classify?top_k=2&explain=true", files=files).json()
    assert found == ours


def test_bentoml_generates(bento: bentoml.SyncHTTPClient, server: Server) -> None:
    found = bento.generate(prompt="The ", max_tokens=20, seed=4, stop=["q"])
    body = {"prompt": "The ", "max_tokens": 20, "seed": 4, "stop": ["q"]}
    (choice,) = server.post("/v1/completions", json=body).json()["choices"]
    assert (found["text"], found["finish_reason"]) == (choice["text"], choice["finish_reason"])


def test_bentoml_samples(bento: bentoml.SyncHTTPClient, server: Server) -> None:
    found = bento.sample(labels=["cat", "dog"], n=3, seed=6)
    assert [image["label"] for image in found["images"]] == ["cat", "dog", "cat"]
    ours = server.post(
        "/v1/sample",
        json={"labels": ["cat", "dog"], "n": 3, "seed": 6},
        headers={"accept": "application/json"},
    )
    assert found == ours.json()


def test_bentoml_is_told_what_is_wrong(bento: bentoml.SyncHTTPClient) -> None:
    with pytest.raises(bentoml.exceptions.BentoMLException, match="unicorn"):
        bento.sample(labels=["unicorn"])


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_openai_completes(client: openai.OpenAI) -> None:
    found = client.completions.create(
        model="shakespeare", prompt="The ", max_tokens=10, seed=1, logprobs=2, n=2, best_of=2
    )
    assert [len(choice.text) for choice in found.choices] == [10, 10]
    assert found.usage is not None
    assert found.usage.total_tokens == 24
    assert found.system_fingerprint is not None
    logprobs = found.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens == list(found.choices[0].text)


def test_openai_streams(client: openai.OpenAI) -> None:
    # The first characters are on their way before the last are drawn; how many pieces the rest
    # comes in is a question of the model's speed.
    asked = {"model": "shakespeare", "prompt": "The ", "max_tokens": 1000, "seed": 1}
    whole = client.completions.create(**asked)  # type: ignore[call-overload]
    chunks = list(
        client.completions.create(
            **asked,  # type: ignore[call-overload]
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    assert text == whole.choices[0].text
    assert chunks[-1].usage.completion_tokens == 1000
    assert len([chunk for chunk in chunks if any(choice.text for choice in chunk.choices)]) > 1


@pytest.mark.anyio
async def test_openai_async(server: Server) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"{server.url}/v1", api_key="none", max_retries=0
    ) as client:
        text = ""
        stream = await client.completions.create(
            model="shakespeare", prompt="a", max_tokens=20, seed=2, stream=True
        )
        async for chunk in stream:
            text += chunk.choices[0].text
        whole = await client.completions.create(
            model="shakespeare", prompt="a", max_tokens=20, seed=2
        )
        assert text == whole.choices[0].text


def test_openai_draws(client: openai.OpenAI) -> None:
    found = client.images.generate(
        model="cifar10-gan",
        prompt="a photograph of two dogs",
        n=2,
        response_format="b64_json",
        extra_body={"seed": 9},
    )
    assert found.data is not None
    pngs = [base64.b64decode(image.b64_json or "") for image in found.data]
    assert [size_of(png) for png in pngs] == [(32, 32), (32, 32)]


def test_openai_lists_models(client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} == {
        "cifar10", "cifar10-gan", "shakespeare",
    }  # fmt: skip
    assert client.models.retrieve("shakespeare").owned_by == "triptych"


def test_openai_is_told_what_is_wrong(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="gpt-3") as missing:
        client.completions.create(model="gpt-3", prompt="a")
    assert missing.value.param == "model"
    with pytest.raises(openai.BadRequestError, match="vocabulary") as bad:
        client.completions.create(model="shakespeare", prompt="naïve")
    assert bad.value.param == "prompt"
    with pytest.raises(openai.BadRequestError, match="suffix"):
        client.completions.create(model="shakespeare", prompt="a", suffix="b")
    with pytest.raises(openai.APIStatusError, match="limit is 1000") as large:
        client.completions.create(model="shakespeare", prompt="a", max_tokens=1001)
    assert large.value.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE
