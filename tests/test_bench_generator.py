"""The open-loop generator against servers that do as they are told."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from tests.bench.load.orders import CUT_SHORT, LEFT, UNANSWERED
from tests.bench.load.step import Demand, Place, record_step, run_step, summarise
from tests.bench.load.targets import Target

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
FULL = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 2\r\n\r\nno"
BROKEN = b"HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\nno"
STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
BODY = b"0123456789"
LATE_MS = 10_000.0  # a busy machine must not void what is tested here


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Scripted(asyncio.Protocol):
    """Answers request number n, of the server's whole life, with `script(n)`."""

    numbers: int
    script: Callable[[int], list[bytes]]

    def connection_made(self, transport):
        self.transport = transport
        self.read = b""

    def data_received(self, data):
        self.read += data
        while self.read.endswith(BODY) and self.read.count(BODY):
            self.read = b""
            kind = type(self)
            kind.numbers += 1
            pieces = kind.script(kind.numbers)
            if not pieces:
                self.transport.close()
            for piece in pieces:
                self.transport.write(piece)


@contextmanager
def scripted(script: Callable[[int], list[bytes]]) -> Iterator[Place]:
    """A server on a thread of its own."""
    kind = type("Kind", (Scripted,), {"numbers": 0, "script": staticmethod(script)})
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start():
        return await loop.create_server(kind, "127.0.0.1", 0)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        port = server.sockets[0].getsockname()[1]
        yield Place("127.0.0.1", port, grace_s=3.0, late_ms=LATE_MS)
    finally:

        async def stop():
            server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def target(name: str = "one", **options) -> Target:
    return Target(name, name, "/", "text/plain", (BODY,), **options)


def demand(*targets: Target, warm_s: float = 0.0) -> Demand:
    return Demand(targets, [1.0] * len(targets), warm_s=warm_s)


def test_every_request_is_sent_when_it_is_due_and_answered():
    with scripted(lambda _: [OK]) as place:
        record = record_step(place, demand(target()), 100, 1.0)
    assert (record.status == 200).all()
    assert len(record.due_s) == 100
    assert (record.taken_s >= record.due_s).all()
    assert (record.sent_s >= record.taken_s).all()
    assert (record.last_s >= record.sent_s).all()
    assert record.cpu_s < record.elapsed_s


@pytest.mark.parametrize("connections", [1, 64])
def test_a_stall_shows_in_the_latency_of_all_who_had_to_wait(connections):
    """The server stands still for 1 s: of 300 requests about 100 were due meanwhile. With one
    connection, as with a client that waits for its answers, a single request met the stall.
    """

    def script(number):
        if number == 100:
            time.sleep(1.0)
        return [OK]

    one = demand(target(objective_ms=200))
    with scripted(script) as place:
        record = record_step(replace(place, connections=connections), one, 100, 3.0)
    assert (record.status == 200).all()
    point = summarise(record, one, 100, 3.0, late_ms=LATE_MS)
    part = point["parts"]["one"]
    assert part["p99_ms"] > 800
    waited = record.last_s - record.due_s > 0.1
    assert waited.sum() >= 80
    assert not point["objective_met"]
    if connections == 1:
        answered_s = record.last_s - record.sent_s
        assert np.quantile(answered_s, 0.9) < 0.4 < np.quantile(record.last_s - record.due_s, 0.8)


def test_what_is_refused_broken_and_lost_is_told_apart():
    kinds = {0: [OK], 1: [FULL], 2: [BROKEN], 3: []}
    with scripted(lambda number: kinds[number % 4]) as place:
        point = run_step(place, demand(target()), 100, 1.0)
    counts = {key: point[key] for key in ("sent", "ok", "refused", "with_retry_after", "other",
                                          "lost")}  # fmt: skip
    assert counts == {"sent": 100, "ok": 25, "refused": 25, "with_retry_after": 25, "other": 25,
                      "lost": 25}  # fmt: skip
    assert point["parts"]["one"]["other_statuses"] == [500]
    assert point["goodput"] == pytest.approx(25, abs=1)
    assert not point["objective_met"]


def test_no_server_loses_every_request():
    with scripted(lambda _: [OK]) as place:
        gone = place
    point = run_step(gone, demand(target()), 50, 0.5)
    assert (point["sent"], point["lost"], point["ok"]) == (25, 25, 0)
    assert point["parts"]["one"]["p99_ms"] is None
    assert not point["objective_met"]


def test_a_server_that_never_answers_ends_the_step_after_the_grace():
    with scripted(lambda _: [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"]) as place:
        start_s = time.perf_counter()
        record = record_step(replace(place, grace_s=0.5), demand(target()), 20, 0.5)
    assert (record.status == UNANSWERED).all()
    assert time.perf_counter() - start_s < 30


def test_streams_have_a_first_event_and_an_end():
    whole = [STREAM + chunk(b"data: a\n\n"), chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"]
    cut = [STREAM + chunk(b"data: a\n\n") + b"0\r\n\r\n"]
    with scripted(lambda number: whole if number % 2 else cut) as place:
        record = record_step(place, demand(target(judged="first")), 50, 1.0)
    assert sorted(set(record.status)) == [CUT_SHORT, 200]
    good = record.status == 200
    assert good.sum() == 25
    assert (record.first_s[good] <= record.last_s[good]).all()


def test_clients_that_leave_are_no_failure_and_expected_errors_neither():
    """A stream that never ends, which the client leaves, and a request that must be refused."""
    endless = [STREAM + chunk(b"data: a\n\n")]
    with scripted(lambda _: endless) as place:
        record = record_step(place, demand(target(abandon_s=0.02)), 50, 0.5)
    assert (record.status == LEFT).all()
    with scripted(lambda _: [BROKEN]) as place:
        point = run_step(place, demand(target(expects=500)), 50, 0.5)
    assert point["ok"] == point["sent"] == 25


def test_a_mix_is_judged_by_its_parts():
    slow = target("slow", objective_ms=0.000001)
    with scripted(lambda _: [OK]) as place:
        point = run_step(place, demand(target("fast", objective_ms=60_000), slow), 100, 1.0)
    parts = point["parts"]
    assert parts["fast"]["sent"] + parts["slow"]["sent"] == point["sent"] == 100
    assert (parts["fast"]["objective_met"], parts["slow"]["objective_met"]) == (True, False)
    assert not point["objective_met"]


def test_what_is_sent_to_warm_up_is_not_counted():
    with scripted(lambda number: [BROKEN] if number <= 20 else [OK]) as place:
        point = run_step(place, demand(target(), warm_s=0.5), 50, 1.0)
    assert (point["sent"], point["other"]) == (50, 0)


def test_a_late_generator_voids_the_step():
    with scripted(lambda _: [OK]) as place:
        point = run_step(replace(place, late_ms=0.0), demand(target()), 50, 0.5)
    assert "late at p99" in point["void"]


def test_a_slow_rate_makes_a_step_longer():
    with scripted(lambda _: [OK]) as place:
        assert run_step(place, demand(target()), 20, 0.1)["sent"] == 20
