"""When a request is sent again, what it then says, and when it is not: without a network."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest

from triptych.client import (
    Backoff,
    ConnectionFailedError,
    DeadlineExceededError,
    FailedError,
    InvalidInputError,
    NotFoundError,
    OverloadedError,
    TooLargeError,
    TriptychClientError,
    UnauthorisedError,
    UnavailableError,
    UnexpectedAnswerError,
    calls,
)
from triptych.client.backoff import retry_after_s
from triptych.client.call import Call, Reply
from triptych.client.exchange import Options, Pause, Send, answered

READY = Reply(200, {}, b'{"ready": true}')


class Drive:
    """Steps done by hand: a clock that only pauses and answers move."""

    def __init__(self, *outcomes: Reply | Exception, takes_s: float = 0.0, **options: Any) -> None:
        given: dict[str, Any] = {
            "base_url": "http://host",
            "api_key": "",
            "timeout_s": 30.0,
            "max_retries": 4,
            "backoff": Backoff(uniform=lambda low, high: high),
            "max_connections": 1,
        }
        self.options = Options.of(**given | options)
        self.outcomes = list(outcomes)
        self.takes_s = takes_s
        self.now_s = 100.0
        self.sent: list[Send] = []
        self.waits_s: list[float] = []

    def run(self, call: Call[Any] | None = None) -> Any:
        steps = answered(call or calls.ready(), self.options, now=lambda: self.now_s)
        step = next(steps)
        try:
            while True:
                if isinstance(step, Pause):
                    self.waits_s.append(step.wait_s)
                    self.now_s += step.wait_s
                    step = steps.send(None)
                    continue
                self.sent.append(step)
                self.now_s += self.takes_s
                outcome = self.outcomes.pop(0)
                if isinstance(outcome, Exception):
                    step = steps.throw(outcome)
                else:
                    step = steps.send(outcome)
        except StopIteration as stop:
            assert not self.outcomes
            return stop.value


def overloaded(**headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(429, named, b'{"error": {"message": "full", "code": "overloaded"}}')


def test_retry_after_in_seconds_is_waited_for_to_the_second() -> None:
    drive = Drive(overloaded(retry_after="7"), overloaded(retry_after="0"), READY)
    assert drive.run().ready
    assert drive.waits_s == [7.0, 0.0]


def test_retry_after_as_a_date_counts_from_the_servers_own_clock() -> None:
    at_s = 1_800_000_000.0  # neither this machine's clock nor its zone plays a part
    headers = {
        "retry_after": formatdate(at_s + 9, usegmt=True),
        "date": formatdate(at_s, usegmt=True),
    }
    drive = Drive(overloaded(**headers), READY)
    drive.run()
    assert drive.waits_s == [9.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("120", 120.0),
        (" 3 ", 3.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
        ("9" * 400, 999_999_999_999.0),
    ],
)
def test_other_forms_of_retry_after(text: str, expected: float | None) -> None:
    assert retry_after_s({"retry-after": text}) == expected
    assert retry_after_s({}) is None


def test_without_retry_after_waits_double_under_a_cap_and_are_drawn_from_zero() -> None:
    ranges: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        ranges.append((low, high))
        return high / 2

    backoff = Backoff(base_s=0.5, cap_s=3.0, uniform=uniform)
    gone = ConnectionFailedError("gone")
    drive = Drive(gone, gone, overloaded(retry_after="never"), gone, READY, backoff=backoff)
    drive.run()
    assert ranges == [(0.0, 0.5), (0.0, 1.0), (0.0, 2.0), (0.0, 3.0)]
    assert drive.waits_s == [0.25, 0.5, 1.0, 1.5]
    assert Backoff(uniform=lambda _, high: high).wait_s(10_000) == 5.0


def test_attempts_share_an_id_and_a_deadline() -> None:
    drive = Drive(
        overloaded(retry_after="2"),
        ConnectionFailedError("gone"),
        READY,
        takes_s=1.0,
        backoff=Backoff(base_s=0.5, uniform=lambda _, high: high),
    )
    drive.run(calls.ready(timeout_s=10.0, priority=1))
    headers = [send.headers for send in drive.sent]
    assert len({one["x-request-id"] for one in headers}) == 1
    assert re.fullmatch(r"[0-9a-f]{32}", headers[0]["x-request-id"])
    # 1 s for each answer, 2 s as the server said, 1 s of backing off.
    assert [one["x-request-timeout-ms"] for one in headers] == ["10000", "7000", "5000"]
    assert [send.timeout_s for send in drive.sent] == pytest.approx([10.0, 7.0, 5.0])
    assert {one["x-request-priority"] for one in headers} == {"1"}


def test_an_id_of_the_callers_own_and_the_key_are_sent() -> None:
    drive = Drive(READY, api_key="secret")
    drive.run(calls.ready(request_id="mine"))
    assert drive.sent[0].headers["x-request-id"] == "mine"
    assert drive.sent[0].headers["authorization"] == "Bearer secret"
    assert "secret" not in repr(drive.options)
    keyless = Drive(READY)
    keyless.run()
    assert "authorization" not in keyless.sent[0].headers


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    drive = Drive(overloaded(retry_after="31"))
    with pytest.raises(OverloadedError, match="full") as caught:
        drive.run()
    assert caught.value.retry_after_s == 31
    assert drive.waits_s == []
    assert caught.value.request_id == drive.sent[0].headers["x-request-id"]


def test_retries_end() -> None:
    drive = Drive(*[overloaded(retry_after="1")] * 3, max_retries=2)
    with pytest.raises(OverloadedError):
        drive.run()
    assert len(drive.sent) == 3
    once = Drive(ConnectionFailedError("gone"), max_retries=0)
    with pytest.raises(ConnectionFailedError):
        once.run()
    assert len(once.sent) == 1


def fault(**fields: object) -> bytes:
    return json.dumps({"error": fields}).encode()


@pytest.mark.parametrize(
    ("status", "kind", "retried"),
    [
        (302, UnexpectedAnswerError, False),
        (400, InvalidInputError, False),
        (401, UnauthorisedError, False),
        (403, UnauthorisedError, False),
        (404, NotFoundError, False),
        (413, TooLargeError, False),
        (415, InvalidInputError, False),
        (422, InvalidInputError, False),
        (429, OverloadedError, True),
        (500, FailedError, False),
        (502, UnavailableError, True),
        (503, UnavailableError, True),
        (504, DeadlineExceededError, True),
    ],
)
def test_statuses_are_errors_of_their_own(
    status: int, kind: type[TriptychClientError], retried: bool
) -> None:
    body = fault(message="top_k is wrong", param="top_k", code="some_code")
    reply = Reply(status, {"x-request-id": "theirs"}, body)
    drive = Drive(reply, reply, max_retries=1)
    with pytest.raises(kind) as caught:
        drive.run(calls.models())
    assert type(caught.value) is kind
    assert len(drive.sent) == (2 if retried else 1)
    found = caught.value
    assert (found.status, found.param, found.code) == (status, "top_k", "some_code")
    assert (str(found), found.request_id) == ("top_k is wrong", "theirs")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": "as the Open Inference Protocol has it"}', "as the Open Inference Protocol"),
        (b"<html>a proxy</html>", "status 400 and no reason"),
        (b'{"error": {"message": 5}}', "status 400 and no reason"),
        (b"\xff\xfe", "status 400 and no reason"),
        (b"", "status 400 and no reason"),
    ],
)
def test_any_body_of_an_error_is_read(body: bytes, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Drive(Reply(400, {}, body)).run(calls.models())


def test_not_ready_is_an_answer_of_ready_alone() -> None:
    body = b'{"ready": false, "serving": {}, "problems": {"cifar10": "no file"}}'
    found = Drive(Reply(503, {}, body)).run()
    assert (found.ready, found.problems) == (False, {"cifar10": "no file"})
    with pytest.raises(UnavailableError):
        Drive(Reply(503, {}, body), max_retries=0).run(calls.models())


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"object": "list"}', b"\xff"])
def test_another_servers_answer_is_told_from_ours(body: bytes) -> None:
    with pytest.raises(UnexpectedAnswerError, match="/v1/models"):
        Drive(Reply(200, {}, body)).run(calls.models())


def test_fields_that_a_newer_server_adds_are_passed_over() -> None:
    body = b'{"data": [{"id": "a", "kind": "cnn", "version": "1", "colour": "red"}], "more": 1}'
    (model,) = Drive(Reply(200, {}, body)).run(calls.models())
    assert (model.id, model.kind, model.labels) == ("a", "cnn", ())


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"base_url": "localhost:3000"}, "base_url"),
        ({"base_url": "ftp://host"}, "base_url"),
        ({"base_url": ""}, "base_url"),
        ({"timeout_s": 0.0}, "timeout_s"),
        ({"timeout_s": float("nan")}, "timeout_s"),
        ({"timeout_s": float("inf")}, "timeout_s"),
        ({"max_retries": -1}, "max_retries"),
        ({"max_connections": 0}, "max_connections"),
        ({"api_key": "two\r\nlines"}, "api_key"),
        ({"api_key": "schlüssel"}, "api_key"),
    ],
)
def test_impossible_options_are_refused_by_name(options: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Drive(**options)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("make", "param"),
    [
        (lambda: calls.ready(timeout_s=-1.0), "timeout_s"),
        (lambda: calls.ready(request_id="a\nb"), "request_id"),
        (lambda: calls.generate("\ud800"), "body"),
    ],
)
def test_impossible_calls_are_refused_before_they_are_sent(
    make: Callable[[], Call[Any]], param: str
) -> None:
    drive = Drive()
    with pytest.raises(InvalidInputError) as caught:
        drive.run(make())
    assert caught.value.param == param
    assert drive.sent == []


def test_address_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIPTYCH_URL", "https://models.example/triptych")
    monkeypatch.setenv("TRIPTYCH_API_KEY", "from-the-environment")
    found = Options.of(None, None, 1.0, 0, None, 1)
    assert found.base_url == "https://models.example/triptych"
    assert found.api_key == "from-the-environment"
    given = Options.of("http://other", "", 1.0, 0, None, 1)
    assert (given.base_url, given.api_key) == ("http://other", "")
    monkeypatch.delenv("TRIPTYCH_URL")
    assert Options.of(None, None, 1.0, 0, None, 1).base_url == "http://127.0.0.1:3000"
