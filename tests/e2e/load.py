"""Clients that ask for everything in turn, and keep what each version answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.pictures import picture


@dataclass(frozen=True)
class Probe:
    """A request, and how to read the version and the content of its answer."""

    name: str
    path: str
    options: dict[str, Any]
    read: Callable[[httpx.Response], tuple[str, Any]]


def read_json(answer: httpx.Response) -> tuple[str, Any]:
    body = answer.json()
    return body["version"], {
        key: value for key, value in body.items() if key not in ("id", "created", "version")
    }


def read_headers(answer: httpx.Response) -> tuple[str, Any]:
    return answer.headers["x-model-version"], answer.content


def read_stream(answer: httpx.Response) -> tuple[str, Any]:
    blocks = answer.text.strip().split("\n\n")
    assert blocks[-1] == "data: [DONE]"
    chunks = [json.loads(block.removeprefix("data: ")) for block in blocks[:-1]]
    (version,) = {chunk["version"] for chunk in chunks}
    return version, "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])


def read_infer(answer: httpx.Response) -> tuple[str, Any]:
    body = answer.json()
    return body["model_version"], body["outputs"]


NOISE = {"name": "noise", "shape": [1, 8], "datatype": "FP32", "data": [0.5] * 8}
LABEL = {"name": "label", "shape": [1], "datatype": "INT64", "data": [3]}
FILES = [("images", (f"{seed}.png", picture(seed))) for seed in range(3)]
TEXT = {"prompt": "The ", "max_tokens": 60, "seed": 1}
PROBES = (
    Probe("classify", "/v1/classify?explain=true", {"content": picture()}, read_json),
    Probe("classify many", "/v1/classify", {"files": FILES}, read_json),
    Probe("completion", "/v1/completions", {"json": TEXT}, read_json),
    Probe("stream", "/v1/completions", {"json": TEXT | {"stream": True}}, read_stream),
    Probe("sample", "/v1/sample", {"json": {"n": 5, "seed": 1}}, read_headers),
    Probe("picture", "/v1/images/generations", {"json": {"prompt": "a cat", "seed": 1}}, read_json),
    Probe(
        "infer", "/v2/models/cifar10-gan/infer", {"json": {"inputs": [NOISE, LABEL]}}, read_infer
    ),
    Probe("bento classify", "/classify", {"files": FILES}, read_json),
    Probe("bento generate", "/generate", {"json": TEXT}, read_json),
    Probe("bento sample", "/sample", {"json": {"n": 2, "seed": 1}}, read_json),
)


@dataclass
class Load:
    """Clients that ask in turn until told to stop; every answer is kept by probe and version."""

    url: str
    found: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    answered: int = 0
    stopping: bool = False

    async def client(self, first: int) -> None:
        async with httpx.AsyncClient(base_url=self.url, timeout=60) as client:
            turn = first
            while not self.stopping:
                probe = PROBES[turn % len(PROBES)]
                turn += 1
                try:
                    answer = await client.post(probe.path, **probe.options)
                    assert answer.status_code == 200, answer.text
                    version, content = probe.read(answer)
                except Exception as error:
                    self.failures.append(f"{probe.name}: {error!r}")
                    continue
                contents = self.found.setdefault((probe.name, version), [])
                if content not in contents:
                    contents.append(content)
                self.answered += 1

    async def until_answered(self, more: int) -> None:
        goal = self.answered + more
        async with asyncio.timeout(60):
            while self.answered < goal and not self.failures:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
