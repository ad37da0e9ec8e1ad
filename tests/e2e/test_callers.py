"""BentoML's endpoints heed their callers through all of BentoML's layers."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.server import Server, serving
from tests.e2e.test_metrics import scrape, value

ENDLESS = {"prompt": "a", "max_tokens": 10_000_000}
LABELS = {"model": "shakespeare", "route": "bentoml.generate"}


@pytest.fixture(scope="module")
def patient(store_copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that writes texts of any length."""
    home = tmp_path_factory.mktemp("patient")
    with serving(store_copy, home, max_tokens=ENDLESS["max_tokens"], workers=1) as running:
        running.wait_for("/readyz", 200)
        yield running


def counted(server: Server, outcome: str) -> float:
    return value(scrape(server), "triptych_requests_total", **LABELS, outcome=outcome)


def steps(server: Server) -> float:
    return value(scrape(server), "triptych_inference_seconds_count", model="shakespeare")


def until_nothing_runs(server: Server) -> None:
    now, before = steps(server), -1.0
    while now != before:
        now, before = steps(server), now


def test_a_client_that_leaves_ends_its_text(patient: Server) -> None:
    before = steps(patient)
    body = json.dumps(ENDLESS).encode()
    address = urlsplit(patient.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(
            b"POST /generate HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )
        while steps(patient) < before + 100:
            time.sleep(0.02)
        assert counted(patient, "cancelled") == 0
    while counted(patient, "cancelled") < 1:
        time.sleep(0.02)
    until_nothing_runs(patient)


def test_a_deadline_ends_a_text(patient: Server) -> None:
    answer = patient.post("/generate", json=ENDLESS, headers={"x-request-timeout-ms": "100"})
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "deadline_exceeded"
    assert counted(patient, "deadline") == 1
    until_nothing_runs(patient)


def test_a_malformed_header_is_named(patient: Server) -> None:
    answer = patient.post("/generate", json=ENDLESS, headers={"x-request-priority": "high"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "x-request-priority"
