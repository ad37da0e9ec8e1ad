"""Which requests are logged, and what a line has."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest

from service.errors import SettingsError
from service.settings import Settings
from service.telemetry.logs import JsonFormatter
from service.telemetry.observer import Observer, check_telemetry, open_observer
from service.telemetry.request_log import FIELDS
from service.telemetry.trail import Trail


def begun(share: float, request_id: str) -> Trail:
    headers = [(b"x-request-id", request_id.encode())]
    trail = Observer(share, 0.0, None).begin("http", "POST", "/v1/classify", headers)
    assert trail is not None
    return trail


def test_nothing_is_observed_unless_it_is_asked_for() -> None:
    assert open_observer(Settings()) is None


def test_replicas_and_retries_sample_alike_and_larger_shares_hold_smaller_ones() -> None:
    ids = [f"request-{number}" for number in range(4000)]
    tenth = {one for one in ids if begun(0.1, one).logged}
    assert tenth == {one for one in ids if begun(0.1, one).logged}
    assert tenth < {one for one in ids if begun(0.3, one).logged}
    assert 0.08 < len(tenth) / len(ids) < 0.12


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/metrics", "/v2/health/ready"])
def test_probes_leave_no_trail(path: str) -> None:
    assert Observer(1.0, 1.0, None).begin("http", "GET", path, []) is None


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    formatter = JsonFormatter()
    return [json.loads(formatter.format(record)) for record in caplog.records]


@pytest.mark.parametrize(
    ("status", "outcome", "level"),
    [
        (200, "ok", None),
        (400, "invalid", None),
        (429, "overloaded", None),
        (500, "error", "error"),
        (503, "not_ready", "error"),
        (504, "deadline", "error"),
    ],
)
def test_failures_are_logged_outside_the_sample(
    caplog: pytest.LogCaptureFixture, status: int, outcome: str, level: str | None
) -> None:
    caplog.set_level(logging.INFO, "triptych")
    trail = begun(1e-12, "one")
    trail.status, trail.outcome = status, outcome
    trail.end()
    trail.end()  # tells once
    assert [line["level"] for line in lines(caplog)] == ([level] if level else [])


def test_with_a_share_of_nothing_not_even_failures_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trail = begun(0.0, "one")
    trail.status = 500
    trail.end()
    assert not caplog.records


def test_a_line_has_known_fields_and_no_query(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "triptych")
    trail = begun(1.0, "one")
    trail.read(10, last=True)
    trail.served_by("cifar10", "v1")
    assert trail.join(3)
    assert not trail.join(9)  # a copy for a trial
    trail.ran((7, 5), trail.queued_s + 0.25, 0.125)
    trail.status, trail.outcome, trail.client = 200, "ok", "alice"
    trail.end()
    (line,) = lines(caplog)
    assert set(line) - {"time", "level", "logger", "message"} <= set(FIELDS)
    assert (line["request_id"], line["client"], line["rows"]) == ("one", "alice", 3)
    assert (line["queue_ms"], line["inference_ms"]) == (250, 125)
    assert (line["model"], line["version"], line["bytes_in"]) == ("cifar10", "v1", 10)


def test_a_line_of_json_holds_what_json_cannot() -> None:
    """Made by hand: pytest would keep the record, and could not pass it on."""
    try:
        raise ValueError("\udcff\n")
    except ValueError:
        record = logging.getLogger("triptych.x").makeRecord(
            "triptych.x",
            logging.ERROR,
            __file__,
            1,
            "odd \udc80 %s",
            ("line\nbreak",),
            sys.exc_info(),
        )
    line = json.loads(JsonFormatter().format(record))
    assert line["message"] == "odd ? line\nbreak"
    assert "ValueError" in line["exception"]
    assert line["level"] == "error"


@pytest.mark.parametrize("url", ["collector:4318", "ftp://collector", "http://", "http://a/?b=c"])
def test_a_receiver_that_is_none_stops_the_start(url: str) -> None:
    with pytest.raises(SettingsError, match="TRIPTYCH_TRACES"):
        check_telemetry(Settings(traces=url))


def test_without_its_packages_traces_stop_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    monkeypatch.setitem(sys.modules, exporter, None)
    monkeypatch.delitem(sys.modules, "service.telemetry.traces", raising=False)
    with pytest.raises(SettingsError, match="needs the trace extra"):
        check_telemetry(Settings(traces="http://collector:4318"))
