"""Completions over a WebSocket: as over HTTP, one after another, ended early, refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx_ws
import pytest

from tests.e2e.server import Server, serving
from tests.e2e.test_metrics import scrape, value

PATH = "/v1/completions/stream"
LONG = {"prompt": "The ", "max_tokens": 1000, "n": 8, "seed": 1}


class Client:
    """A connection that is asked and answers."""

    def __init__(self, session: httpx_ws.WebSocketSession) -> None:
        self.session = session

    def hear(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.session.receive_text(timeout=30))
        return found

    def say(self, **asked: Any) -> None:
        self.session.send_text(json.dumps(asked))

    def rest(self) -> list[dict[str, Any]]:
        """Messages up to the one that ends a request."""
        found = [self.hear()]
        while "done" not in found[-1] and "error" not in found[-1]:
            found.append(self.hear())
        return found

    def ask(self, **asked: Any) -> list[dict[str, Any]]:
        self.say(**asked)
        return self.rest()


def connected(server: Server, **headers: str) -> Any:
    return httpx_ws.connect_ws(server.url + PATH, headers=headers)


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with connected(server) as session:
        yield Client(session)


def text_of(chunks: list[dict[str, Any]], index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return "".join(choice["text"] for choice in choices if choice["index"] == index)


def test_the_text_is_the_one_over_http(server: Server, client: Client) -> None:
    asked: dict[str, Any] = {
        "model": "shakespeare", "prompt": "The cat", "max_tokens": 60, "seed": 3, "n": 2,
        "logprobs": 2, "echo": True, "stop": ["q!"],
    }  # fmt: skip
    whole = server.post("/v1/completions", json=asked).json()
    *chunks, done = client.ask(**asked, stream_options={"include_usage": True})
    assert done == {"done": True}
    assert chunks[-1]["usage"] == whole["usage"]
    for index, choice in enumerate(whole["choices"]):
        assert text_of(chunks, index) == choice["text"]
    assert {chunk["id"] for chunk in chunks} == {chunks[0]["id"]}
    assert {key: chunks[0][key] for key in ("object", "model", "version", "seed")} == {
        key: whole[key] for key in ("object", "model", "version", "seed")
    }


def test_requests_come_one_after_another(server: Server, client: Client) -> None:
    for seed in range(5):
        asked = {"prompt": "a", "max_tokens": 20, "seed": seed}
        *chunks, done = client.ask(**asked)
        assert done == {"done": True}
        (choice,) = server.post("/v1/completions", json=asked).json()["choices"]
        assert text_of(chunks) == choice["text"]


def test_a_whole_answer_if_it_must_not_stream(server: Server, client: Client) -> None:
    asked = {"prompt": "a", "max_tokens": 20, "seed": 1}
    body, done = client.ask(**asked, stream=False)
    whole = server.post("/v1/completions", json=asked).json()
    assert body["choices"] == whole["choices"]
    assert body["usage"] == whole["usage"]
    assert done == {"done": True}


def test_a_running_request_is_ended(server: Server, client: Client) -> None:
    before = scrape(server)
    client.say(**LONG)
    first = client.hear()
    assert first["choices"][0]["text"]
    client.say(cancel=True)
    *chunks, done = client.rest()
    assert done == {"done": True, "cancelled": True}
    assert len(text_of([first, *chunks])) < LONG["max_tokens"]
    client.say(cancel=True)  # nothing runs: nothing is said
    assert client.ask(prompt="a", max_tokens=3, seed=1)[-1] == {"done": True}
    name, labels = "triptych_requests_total", {"model": "shakespeare", "route": "websocket"}
    after = scrape(server)
    for outcome in ("ok", "cancelled"):
        told = labels | {"outcome": outcome}
        assert value(after, name, **told) == value(before, name, **told) + 1


def test_a_closed_connection_takes_its_rows_out(server: Server) -> None:
    labels = {"model": "shakespeare", "route": "websocket", "outcome": "cancelled"}
    before = value(scrape(server), "triptych_requests_total", **labels)
    with connected(server) as session:
        client = Client(session)
        client.say(**LONG)
        client.hear()
    for _ in range(100):
        samples = scrape(server)
        if value(samples, "triptych_requests_total", **labels) == before + 1:
            break
    else:
        raise AssertionError("the closed connection's request was never ended")
    assert value(samples, "triptych_queue_rows", model="shakespeare") == 0


def test_one_at_a_time(client: Client) -> None:
    client.say(**LONG)
    client.say(prompt="a")
    told = client.rest()
    assert told[-1]["error"]["code"] == "busy"
    client.say(cancel=True)
    assert client.rest()[-1] == {"done": True, "cancelled": True}


@pytest.mark.parametrize(
    ("message", "field", "code"),
    [
        ("{", "body", "invalid_input"), ("", "body", "invalid_input"),
        ("[1]", "body", "invalid_input"),
        ('{"prompt": "a", "mirostat": 1}', "mirostat", "invalid_input"),
        ('{"prompt": "a", "suffix": "b"}', "suffix", "invalid_input"),
        ('{"prompt": "\u00e4"}', "prompt", "invalid_input"),
        ('{"prompt": "a", "max_tokens": 1001}', "max_tokens", "too_large"),
        ('{"prompt": "a", "model": "nobody"}', "model", "not_found"),
        (json.dumps({"prompt": "a" * 300_000}), "body", "too_large"),
        (json.dumps({"prompt": "\u20ac" * 100_000}, ensure_ascii=False), "body", "too_large"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_and_the_connection_stays(
    client: Client, message: str, field: str, code: str
) -> None:
    client.session.send_text(message)
    error = client.hear()["error"]
    assert (error["param"], error["code"]) == (field, code)
    client.session.send_bytes(b'{"prompt": "a", "max_tokens": 2}')
    assert client.rest()[-1] == {"done": True}


def test_pages_of_other_sites_are_turned_away(server: Server) -> None:
    for origin in ("https://elsewhere.example", "null", server.url + "1"):
        with (
            pytest.raises(httpx_ws.WebSocketUpgradeError) as refused,
            connected(server, origin=origin),
        ):
            pass
        answer = refused.value.response
        assert answer is not None
        assert answer.status_code == 403
    with connected(server, origin=server.url) as session:
        assert Client(session).ask(prompt="a", max_tokens=2)[-1] == {"done": True}


def test_a_malformed_deadline_is_refused_at_once(server: Server) -> None:
    with (
        pytest.raises(httpx_ws.WebSocketUpgradeError) as refused,
        connected(server, **{"x-request-timeout-ms": "soon"}),
    ):
        pass
    assert refused.value.response is not None
    assert refused.value.response.status_code == 400


def test_a_deadline_ends_the_request_not_the_connection(server: Server) -> None:
    with connected(server, **{"x-request-timeout-ms": "1"}) as session:
        client = Client(session)
        for _ in range(2):
            assert client.ask(**LONG)[-1]["error"]["code"] == "deadline_exceeded"


def test_a_stopping_server_ends_its_connections(store_copy: Path, tmp_path: Path) -> None:
    with serving(store_copy, tmp_path / "home", workers=1, max_tokens=10_000_000) as server:
        server.wait_for("/readyz", 200)
        with connected(server) as idle, connected(server) as busy:
            client = Client(busy)
            client.say(prompt="a", max_tokens=10_000_000)
            client.hear()
            assert server.stop() == 0
            with pytest.raises(httpx_ws.HTTPXWSException):
                client.rest()
            with pytest.raises(httpx_ws.HTTPXWSException):
                Client(idle).hear()


def test_without_a_websocket_there_is_a_hint(server: Server) -> None:
    answer = server.get(PATH)
    assert answer.status_code == httpx.codes.UPGRADE_REQUIRED
    assert "/v1/completions" in answer.json()["error"]["message"]
    assert server.post(PATH, json={}).status_code == httpx.codes.METHOD_NOT_ALLOWED


def test_elsewhere_there_is_no_websocket(server: Server) -> None:
    for path in ("/v1/completions", "/nowhere"):
        with pytest.raises(httpx_ws.WebSocketUpgradeError), httpx_ws.connect_ws(server.url + path):
            pass
