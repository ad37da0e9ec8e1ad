"""Whose word is taken for a request's id, and what a `traceparent` says."""

from __future__ import annotations

import re

import pytest

from service.telemetry.identity import identify, parse_traceparent, sent_id

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEX = re.compile("[0-9a-f]{32}")


@pytest.mark.parametrize("value", [b"a", b"abc-123", b"~!" * 64, b"x" * 128])
def test_a_short_visible_id_is_the_clients(value: bytes) -> None:
    headers = [(b"host", b"here"), (b"x-request-id", value)]
    assert identify(headers)[0] == value.decode()
    assert sent_id(headers) == value


@pytest.mark.parametrize("value", [b"", b"two words", b"x" * 129, b"\xff", b"a\tb", b'"\n"'])
def test_any_other_is_replaced(value: bytes) -> None:
    headers = [(b"x-request-id", value)]
    assert HEX.fullmatch(identify(headers)[0])
    echoed = sent_id(headers)
    assert echoed is not None
    assert HEX.fullmatch(echoed.decode())


def test_without_one_it_is_the_traces_or_a_new_one() -> None:
    traced = [(b"traceparent", f"00-{TRACE}-{SPAN}-01".encode())]
    assert identify(traced)[0] == TRACE
    made = {identify([])[0] for _ in range(100)}
    assert len(made) == 100
    assert all(map(HEX.fullmatch, made))
    assert sent_id(traced) is None


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("03", True)])
def test_a_traceparent(flags: str, sampled: bool) -> None:
    parent = parse_traceparent(f"00-{TRACE}-{SPAN}-{flags}".encode())
    assert parent is not None
    assert (parent.trace_id, parent.span_id) == (int(TRACE, 16), int(SPAN, 16))
    assert parent.sampled == sampled


def test_a_later_version_may_have_more_fields() -> None:
    assert parse_traceparent(f"01-{TRACE}-{SPAN}-01-more".encode()) is not None


@pytest.mark.parametrize(
    "value",
    [
        "",
        "nonsense",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}",
    ],
)
def test_a_bad_traceparent_is_ignored(value: str) -> None:
    assert parse_traceparent(value.encode()) is None
    assert identify([(b"traceparent", value.encode())])[1] is None
