"""A receiver of traces that does not answer: spans are lost and counted, and nobody waits."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from service.telemetry.traces import MOST_WAITING, Tracer, phases
from service.telemetry.trail import Trail


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of one that takes connections and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def answered() -> Trail:
    trail = Trail("one", "http", "POST", "/v1/classify", trace_id=1, span_id=2)
    trail.read(1, last=True)
    trail.join(1)
    trail.ran((1, 1), trail.queued_s, 0.0)
    trail.end()
    trail.ended_s = trail.ran_s
    return trail


def dropped() -> float:
    return REGISTRY.get_sample_value("triptych_trace_spans_dropped_total") or 0.0


def test_what_no_receiver_takes_is_dropped_and_told_once(
    silent: str, caplog: pytest.LogCaptureFixture
) -> None:
    before, trail = dropped(), answered()
    spans = 1 + len(phases(trail))
    tracer = Tracer(silent)
    told = 3 * MOST_WAITING // spans
    for _ in range(told):
        tracer.tell(trail)
    lost = dropped() - before
    # None is sent, and those that may wait, with a batch that is being sent, are fewer.
    assert MOST_WAITING < lost < told * spans
    with caplog.at_level(logging.CRITICAL, "opentelemetry"):
        tracer.close()
    assert dropped() - before == told * spans
    assert [record.name for record in caplog.records] == ["triptych.traces"]


def test_a_request_that_never_got_far_has_no_phases_that_it_never_reached() -> None:
    trail = Trail("one", "http", "POST", "/v1/classify")
    assert phases(trail) == []
    trail.join(1)
    assert [name for name, _, _ in phases(trail)] == ["decode"]
    trail.joined_s = trail.queued_s
    assert [name for name, _, _ in phases(trail)] == ["decode", "queue"]
