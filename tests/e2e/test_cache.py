"""The cache of answers: off by default; on, it changes nothing but the work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.server import Server, serving
from tests.pictures import picture

OWN = ("id", "created")
"""Of a completion: new in every answer."""

REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/classify?top_k=10&explain=true", {"content": picture(1)}),
    ("/v1/completions", {"json": {"prompt": "The ", "max_tokens": 30, "seed": 1, "logprobs": 2}}),
    ("/v1/sample", {"json": {"labels": ["cat"], "n": 3, "seed": 1}}),
]


@pytest.fixture(scope="module")
def keeping(store_copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("keeping")
    with serving(store_copy, home, workers=1, cache_mib=4) as running:
        running.wait_for("/readyz", 200)
        yield running


def hits(server: Server) -> float:
    return sum(
        sample.value
        for family in text_string_to_metric_families(server.get("/metrics").text)
        for sample in family.samples
        if sample.name == "triptych_cache_hits_total"
    )


def content(server: Server, path: str, options: dict[str, Any]) -> Any:
    answer = server.post(path, **options)
    assert answer.status_code == 200, answer.text
    if answer.headers["content-type"] != "application/json":
        return answer.content
    return {name: value for name, value in answer.json().items() if name not in OWN}


@pytest.mark.parametrize(("path", "options"), REQUESTS)
def test_the_second_answer_is_the_first_without_the_work(
    keeping: Server, path: str, options: dict[str, Any]
) -> None:
    first, before = content(keeping, path, options), hits(keeping)
    assert content(keeping, path, options) == first
    assert hits(keeping) == before + 1


def test_other_parameters_are_another_answer(keeping: Server) -> None:
    asked = {"prompt": "The ", "max_tokens": 30, "seed": 3}
    first, before = content(keeping, "/v1/completions", {"json": asked}), hits(keeping)
    other = content(keeping, "/v1/completions", {"json": asked | {"temperature": 0.5}})
    assert other["choices"] != first["choices"]
    assert hits(keeping) == before


def test_by_default_nothing_is_kept(server: Server) -> None:
    path, options = REQUESTS[0]
    before = hits(server)
    for _ in range(6):  # of two workers one has it at least three times
        content(server, path, options)
    assert hits(server) == before == 0
