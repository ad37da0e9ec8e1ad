"""OpenAI's client draws: what it may wish for, and what it is refused."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.e2e.server import Server
from tests.pictures import size_of

MODEL = "cifar10-gan"


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def draw(client: openai.OpenAI, **asked: Any) -> list[bytes]:
    found = client.images.generate(model=MODEL, prompt="a cat", **asked)
    assert found.data is not None
    assert (found.output_format, found.size) == ("png", "32x32")
    return [base64.b64decode(image.b64_json or "") for image in found.data]


def test_pictures_of_the_asked_size(client: openai.OpenAI) -> None:
    pngs = draw(client, n=3, size="32x32", response_format="b64_json")
    assert [size_of(png) for png in pngs] == [(32, 32)] * 3
    assert len(set(pngs)) == 3


def test_wishes_have_no_effect(client: openai.OpenAI) -> None:
    plain = draw(client, extra_body={"seed": 4})
    wished = draw(
        client,
        quality="high",
        style="vivid",
        background="opaque",
        moderation="low",
        output_format="png",
        output_compression=50,
        user="somebody",
        size="auto",
        extra_body={"seed": 4},
    )
    assert wished == plain


@pytest.mark.anyio
async def test_asynchronously(server: Server, client: openai.OpenAI) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"{server.url}/v1", api_key="none", max_retries=0
    ) as asynchronous:
        found = await asynchronous.images.generate(
            model=MODEL, prompt="a cat", n=2, size="auto", extra_body={"seed": 4}
        )
    assert found.data is not None
    pngs = [base64.b64decode(image.b64_json or "") for image in found.data]
    assert pngs == draw(client, n=2, extra_body={"seed": 4})


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"size": "1024x1024"}, "size"), ({"response_format": "url"}, "response_format"),
        ({"output_format": "webp"}, "output_format"), ({"background": "transparent"}, "background"),
        ({"stream": True}, "stream"), ({"n": 0}, "n"), ({"output_compression": 101},
        "output_compression"), ({"extra_body": {"steps": 20}}, "steps"),
        ({"partial_images": 2}, "partial_images"),
        ({"extra_body": {"prompt": "a unicorn"}}, "prompt"),
    ],
)  # fmt: skip
def test_what_is_not_done_is_refused(
    client: openai.OpenAI, asked: dict[str, Any], field: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        draw(client, **asked)
    assert refused.value.param == field
