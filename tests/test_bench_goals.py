"""Goals held against a report; characters of a stream counted."""

from __future__ import annotations

import json

import pytest

from tests.bench.client import characters
from tests.bench.goals import judge

CLASSIFY = "classify, 64 connections: CPU against the bare loop"
FLAT = "classify, 16 to 1,000 connections: growth of CPU a request"
STREAMS = "completions, 32 streams: characters/s against the bare loop"
MEMORY = "memory of a worker with all three models after every load (PSS)"


def verdicts(**report):
    return {found.goal: found for found in judge({"results": [], **report})}


def test_at_most_and_at_least():
    results = [
        {"key": "classify@64", "cpu_ratio": 1.41, "cpu_s_per_1000": 1.0},
        {"key": "stream@32", "share": 0.9},
    ]
    found = verdicts(results=results)
    assert (found[CLASSIFY].measured, found[CLASSIFY].reached) == ("1.41 x", False)
    assert (found[STREAMS].limit, found[STREAMS].reached) == ("at least 90.0%", True)


@pytest.mark.parametrize(("dearest", "reached"), [(1.09, True), (1.12, False)])
def test_flatness_is_of_the_dearest_against_the_cheapest(dearest, reached):
    costs = {16: 1.01, 64: 1.0, 256: 1.02, 1000: dearest}
    results = [
        {"key": f"classify@{connections}", "cpu_s_per_1000": cost, "cpu_ratio": 1.0}
        for connections, cost in costs.items()
    ]
    assert verdicts(results=results)[FLAT].reached is reached


def test_what_was_not_measured_is_said_with_its_reason():
    found = verdicts(
        results=[{"key": "classify@64", "error": "3 requests failed\nmore"}],
        service={"models": 1, "worker_pss_mib": 100.0, "ready_s": 1.0},
    )
    assert (found[CLASSIFY].measured, found[CLASSIFY].reached) == ("3 requests failed", None)
    assert (found[STREAMS].measured, found[STREAMS].reached) == ("not measured", None)
    assert found[MEMORY].reached is None
    assert found["ready after its start"].reached is True


def test_characters_of_events_that_share_a_chunk_or_are_cut_by_one():
    events = b"".join(
        b"data: " + json.dumps({"choices": [{"text": text}]}).encode() + b"\n\n"
        for text in ("a", "bc\n", '"}', "")
    )
    events += b"data: [DONE]\n\n"
    chunks = (events[:37], events[37:41], events[41:])
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    answer += b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    assert characters(answer + b"0\r\n\r\n") == 6
