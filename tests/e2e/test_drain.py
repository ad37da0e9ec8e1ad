"""The end of a server, by real signals: who is told what, in which order, and by when."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from httpx_ws import WebSocketDisconnect, connect_ws

from tests.e2e.server import Server, serving
from tests.pictures import picture

DELAY_S, TIMEOUT_S = 2.0, 2.0
SLACK_S = 15.0
"""What a busy machine may add; the streams below would last for minutes."""
ENDLESS = {"prompt": "a", "max_tokens": 2_000_000, "seed": 1}


@dataclass
class Witness:
    """What clients saw, and when."""

    times_s: dict[str, float] = field(default_factory=dict)
    words: dict[str, Any] = field(default_factory=dict)
    began: dict[str, threading.Event] = field(default_factory=dict)

    def saw(self, event: str, words: Any = None) -> None:
        self.times_s[event] = time.monotonic()
        self.words[event] = words

    def stream(self, url: str) -> None:
        with httpx.stream("POST", f"{url}/v1/completions", json=ENDLESS | {"stream": True},
                          timeout=60) as answer:  # fmt: skip
            last = ""
            for line in answer.iter_lines():
                self.began["stream"].set()
                last = line or last
            self.saw("stream told", json.loads(last.removeprefix("data: ")))

    def whole(self, url: str) -> None:
        self.began["whole"].set()
        answer = httpx.post(f"{url}/v1/completions", json=ENDLESS, timeout=60)
        self.saw("request told", (answer.status_code, answer.json()))

    def endpoint(self, url: str) -> None:
        self.began["endpoint"].set()
        answer = httpx.post(f"{url}/generate", json=ENDLESS, timeout=60)
        self.saw("endpoint told", (answer.status_code, answer.json()))

    def socket(self, url: str) -> None:
        with connect_ws(f"{url}/v1/completions/stream") as socket:
            socket.send_json(ENDLESS)
            try:
                while True:
                    socket.receive_text(timeout=60)
                    self.began["socket"].set()
            except WebSocketDisconnect as left:
                self.saw("socket told", left.code)


@pytest.fixture
def lasting(tiny_store: Path, tmp_path: Path) -> Iterator[Server]:
    """A server on which an answer may take as long as it likes."""
    settings = {
        "drain_delay_s": DELAY_S, "drain_timeout_s": TIMEOUT_S, "max_tokens": 5_000_000,
        "request_timeout_s": 0,
    }  # fmt: skip
    with serving(tiny_store, tmp_path / "home", **settings) as server:
        server.wait_for("/readyz", 200)
        yield server


def test_sigterm_flips_readiness_then_closes_then_tells_then_ends(lasting: Server) -> None:
    witness = Witness()
    clients = []
    for name in ("stream", "whole", "endpoint", "socket"):
        witness.began[name] = threading.Event()
        clients.append(threading.Thread(target=getattr(witness, name), args=(lasting.url,)))
        clients[-1].start()
    assert all(began.wait(30) for began in witness.began.values())
    time.sleep(0.3)  # the two whole requests are on their way

    told_s = time.monotonic()
    lasting.process.send_signal(signal.SIGTERM)
    draining = lasting.wait_for("/readyz", 503)
    witness.saw("not ready")
    assert draining.json()["state"] == "draining"
    assert not draining.json()["ready"]
    assert lasting.post("/v1/classify", content=picture()).status_code == 200
    assert lasting.get("/v2/health/ready").status_code == 503
    assert lasting.get("/livez").status_code == 200
    witness.saw("still serving")

    status = lasting.process.wait(timeout=DELAY_S + TIMEOUT_S + SLACK_S)
    witness.saw("gone")
    for client in clients:
        client.join(30)
    order = [
        name for name in sorted(witness.times_s, key=lambda name: witness.times_s[name])
        if name not in ("request told", "endpoint told", "gone")
    ]  # fmt: skip
    assert order == ["not ready", "still serving", "socket told", "stream told"]
    assert status == 0
    assert witness.words["socket told"] == 1012
    assert witness.words["stream told"]["error"]["code"] == "not_ready"
    for name in ("request told", "endpoint told"):
        code, body = witness.words[name]
        assert (code, body["error"]["message"]) == (503, "the server is stopping")
    at_s = {name: time_s - told_s for name, time_s in witness.times_s.items()}
    assert at_s["still serving"] < DELAY_S <= at_s["socket told"]
    assert at_s["stream told"] >= DELAY_S + TIMEOUT_S


def signal_workers(server: Server, sig: int) -> None:
    for worker in psutil.Process(server.process.pid).children():
        worker.send_signal(sig)


def test_a_second_sigterm_skips_the_wait(tiny_store: Path, tmp_path: Path) -> None:
    with serving(tiny_store, tmp_path / "home", workers=1, drain_delay_s=120) as server:
        server.wait_for("/readyz", 200)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("/readyz", 503)
        signal_workers(server, signal.SIGTERM)  # BentoML passes on the first alone
        assert server.process.wait(timeout=SLACK_S) == 0


def test_an_interrupt_does_not_wait(tiny_store: Path, tmp_path: Path) -> None:
    with serving(tiny_store, tmp_path / "home", drain_delay_s=120) as server:
        server.wait_for("/readyz", 200)
        signal_workers(server, signal.SIGINT)  # as a terminal does, to the whole group
        server.process.send_signal(signal.SIGINT)
        server.process.wait(timeout=SLACK_S)
