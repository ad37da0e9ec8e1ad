"""Both clients over real sockets, to a server that resets, stalls and trickles."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import Any

import pytest

from tests.client.scripted import KINDS, answer, ask, hang, pieces, reset, scripted, trickle
from triptych.client import (
    AsyncClient,
    Backoff,
    Client,
    ConnectionFailedError,
    DeadlineExceededError,
    OverloadedError,
    StreamBrokenError,
    UnexpectedAnswerError,
)

READY = answer(200, b'{"ready": true}')
QUICK: dict[str, Any] = {"backoff": Backoff(base_s=0.001, cap_s=0.002)}

pytestmark = pytest.mark.parametrize("kind", KINDS)


def event(text: str = "", **fields: object) -> bytes:
    choices = [{"text": text, "index": 0, "logprobs": None, "finish_reason": None}]
    body = {"id": "cmpl-1", "model": "m", "version": "v", "seed": 3, "choices": choices}
    return b"data: " + json.dumps(body | fields).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def test_a_connection_that_is_reset_is_tried_again_under_the_same_id(kind: str) -> None:
    with scripted(reset, reset, READY) as server:
        assert ask(kind, server.url, "ready", client=QUICK).ready
        assert len(server.requests) == 3
        assert len({one.headers["x-request-id"] for one in server.requests}) == 1


def test_retry_after_is_waited_for(kind: str) -> None:
    with scripted(answer(429, retry_after="1"), READY) as server:
        assert ask(kind, server.url, "ready").ready
        first, second = server.requests
        assert second.at_s - first.at_s >= 1


def test_bodies_are_sent_again_whole(kind: str) -> None:
    found = b'{"model": "m", "version": "v", "predictions": []}'
    with scripted(answer(503), reset, answer(200, found)) as server:
        ask(kind, server.url, "classify", [b"one", b"two"], client=QUICK)
        assert all(b"one" in one.body and b"two" in one.body for one in server.requests)
        assert {one.headers["accept-encoding"] for one in server.requests} == {"identity"}


def test_nobody_listens(kind: str) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(ConnectionFailedError, match=url) as caught:
            ask(kind, url, "ready", client=QUICK)
    assert caught.value.request_id


@pytest.mark.parametrize("step", [hang, trickle])
def test_a_slow_answer_ends_at_the_deadline(kind: str, step: Any) -> None:
    with scripted(step) as server:
        began_s = time.monotonic()
        with pytest.raises(DeadlineExceededError, match=r"within 0\.3"):
            ask(kind, server.url, "ready", timeout_s=0.3)
        assert time.monotonic() - began_s >= 0.25
        assert int(server.requests[0].headers["x-request-timeout-ms"]) <= 300


def test_the_deadline_holds_for_all_attempts_together(kind: str) -> None:
    with scripted(answer(503, retry_after="0"), hang) as server:
        with pytest.raises(DeadlineExceededError):
            ask(kind, server.url, "models", timeout_s=0.3)
        first, second = (int(one.headers["x-request-timeout-ms"]) for one in server.requests)
        assert second <= first <= 300


def test_a_refusal_is_not_tried_again(kind: str) -> None:
    body = b'{"error": {"message": "full", "code": "overloaded"}}'
    with scripted(answer(429, body, retry_after="60")) as server:
        with pytest.raises(OverloadedError, match="full") as caught:
            ask(kind, server.url, "models", timeout_s=5.0)
        assert caught.value.retry_after_s == 60


def test_connections_are_kept(kind: str) -> None:
    with scripted(READY, READY, READY) as server:
        if kind == "blocking":
            with Client(server.url) as client:
                assert all(client.ready().ready for _ in range(3))
        else:

            async def go() -> None:
                async with AsyncClient(server.url) as client:
                    assert [(await client.ready()).ready for _ in range(3)] == [True] * 3

            asyncio.run(go())
        assert server.connections == 1


def test_a_path_before_the_routes_is_kept(kind: str) -> None:
    with scripted(READY) as server:
        ask(kind, server.url + "/models/", "ready")
        assert server.requests[0].line == "GET /models/readyz HTTP/1.1"


def test_a_stream_comes_in_chunks_however_it_is_cut(kind: str) -> None:
    last = event(choices=[], usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})
    whole = event("a") + b": a comment\r\n" + event("ß", usage=None) + last + DONE
    with scripted(pieces(*(whole[at : at + 7] for at in range(0, len(whole), 7)))) as server:
        chunks = ask(kind, server.url, "stream", "x")
        assert [chunk.text for chunk in chunks] == ["a", "ß"]
        asked = json.loads(server.requests[0].body)
        assert asked["stream"] is True
        # A stream may last: what bounds it is the time of each chunk, unless the caller says so.
        assert "x-request-timeout-ms" not in server.requests[0].headers


def test_a_stream_that_breaks_after_its_first_chunk_is_not_sent_again(kind: str) -> None:
    # The pause lets the first chunk be read before the reset throws away what was not.
    for ending in ([0.2, reset], []):
        with scripted(pieces(event("a"), *ending)) as server:
            seen: list[str] = []
            with pytest.raises(StreamBrokenError):
                read_into(seen, kind, server.url)
            assert seen == ["a"]
            assert len(server.requests) == 1


def read_into(seen: list[str], kind: str, url: str, **options: Any) -> None:
    """Read a stream; what came before an error is seen."""
    if kind == "blocking":
        with Client(url, **QUICK) as client, client.stream("x", **options) as stream:
            for chunk in stream:
                seen.append(chunk.text)  # noqa: PERF401 - what came before an error counts
        return

    async def go() -> None:
        async with AsyncClient(url, **QUICK) as client, client.stream("x", **options) as stream:
            async for chunk in stream:
                seen.append(chunk.text)  # noqa: PERF401 - what came before an error counts

    asyncio.run(go())


def test_a_stream_that_breaks_before_its_first_bytes_is_sent_again(kind: str) -> None:
    whole = pieces(event("a"), DONE)
    with scripted(reset, pieces(reset), pieces(), answer(503), whole) as server:
        seen: list[str] = []
        read_into(seen, kind, server.url)
        assert seen == ["a"]
        assert len(server.requests) == 5


def test_an_error_in_a_stream_is_raised_after_what_came_before_it(kind: str) -> None:
    fault = {"message": "no end within 1 s", "param": None, "code": "deadline_exceeded"}
    failed = b"data: " + json.dumps({"error": fault}).encode() + b"\n\n"
    with scripted(pieces(event("a") + failed)) as server:
        seen: list[str] = []
        with pytest.raises(DeadlineExceededError, match="no end") as caught:
            read_into(seen, kind, server.url)
        assert seen == ["a"]
        assert caught.value.code == "deadline_exceeded"


def test_an_event_that_is_no_chunk(kind: str) -> None:
    garbled = scripted(pieces(b"data: <html>\n\n"))
    with garbled as server, pytest.raises(UnexpectedAnswerError, match="no chunk"):
        read_into([], kind, server.url)


def test_a_stream_that_stalls_ends_at_its_time(kind: str) -> None:
    with scripted(pieces(event("a"), hang)) as server:
        seen: list[str] = []
        with pytest.raises(DeadlineExceededError):
            read_into(seen, kind, server.url, timeout_s=0.3)
        assert seen == ["a"]
        assert int(server.requests[0].headers["x-request-timeout-ms"]) <= 300


def test_a_stream_that_trickles_ends_at_its_time(kind: str) -> None:
    slow = [part for _ in range(200) for part in (event("a"), 0.02)]
    with scripted(pieces(*slow)) as server:
        with pytest.raises(DeadlineExceededError, match=r"within 0\.3 s|nothing came"):
            read_into([], kind, server.url, timeout_s=0.3)
        assert server.left.wait(10)


def test_leaving_a_stream_closes_its_connection(kind: str) -> None:
    endless = [part for _ in range(1000) for part in (event("a"), 0.01)]
    with scripted(pieces(*endless)) as server:
        if kind == "blocking":
            with Client(server.url) as client:
                with client.stream("x") as stream:
                    assert next(stream).text == "a"
                    assert (stream.model, stream.version, stream.seed) == ("m", "v", 3)
                assert server.left.wait(10)
                assert list(stream) == []
        else:

            async def go() -> None:
                async with AsyncClient(server.url) as client:
                    async with client.stream("x") as stream:
                        assert (await anext(stream)).text == "a"
                        assert (stream.model, stream.version, stream.seed) == ("m", "v", 3)
                    assert await asyncio.to_thread(server.left.wait, 10)
                    assert [chunk async for chunk in stream] == []

            asyncio.run(go())
