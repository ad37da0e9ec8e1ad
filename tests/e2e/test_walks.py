"""`seed_to` of `POST /v1/sample`: pictures on the way from one seed to another."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.server import Server
from tests.pictures import size_of

JSON = {"accept": "application/json"}


def draw(server: Server, **asked: Any) -> list[str]:
    answer = server.post("/v1/sample", json=asked, headers=JSON)
    assert answer.status_code == 200, answer.text
    return [image["b64_json"] for image in answer.json()["images"]]


@pytest.fixture
def label(server: Server) -> str:
    found: str = server.get("/v1/models/cifar10-gan").json()["labels"][1]
    return found


def test_its_ends_are_what_the_seeds_draw(server: Server, label: str) -> None:
    walk = draw(server, labels=[label], n=7, seed=3, seed_to=9)
    assert len(set(walk)) == 7
    assert [walk[0]] == draw(server, labels=[label], n=1, seed=3)
    assert [walk[-1]] == draw(server, labels=[label], n=1, seed=9)
    assert draw(server, labels=[label], n=7, seed=3, seed_to=9) == walk
    assert draw(server, labels=[label], n=7, seed=9, seed_to=3)[::6] == walk[::-6]


def test_a_walk_is_a_grid_as_well(server: Server, label: str) -> None:
    asked = {"labels": [label], "n": 4, "seed": 1, "seed_to": 2, "columns": 4}
    width, height = size_of(server.post("/v1/sample", json=asked).content)
    assert width >= 4 * height - 16


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"n": 4, "seed_to": 2}, "seed"),
        ({"n": 1, "seed": 1, "seed_to": 2}, "n"),
        ({"n": 4, "seed": 1, "seed_to": -2}, "seed_to"),
        ({"n": 4, "seed": 1, "seed_to": "2"}, "seed_to"),
    ],
)
def test_what_is_no_walk_is_refused(server: Server, asked: dict[str, Any], field: str) -> None:
    answer = server.post("/v1/sample", json=asked)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == field
