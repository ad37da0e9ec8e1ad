"""Heads and bodies leave together, and nothing is held back that nothing follows."""

from __future__ import annotations

from service.http.joined import Joined

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class Wire:
    """A transport that remembers."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.packets.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def joined() -> tuple[Wire, Joined]:
    wire = Wire()
    return wire, Joined(wire)  # type: ignore[arg-type]


def test_a_head_goes_with_its_body() -> None:
    wire, answer = joined()
    answer.write(HEAD)
    assert not wire.packets
    answer.write(b"body")
    assert wire.packets == [HEAD + b"body"]


def test_a_body_that_looks_like_a_head_is_none() -> None:
    wire, answer = joined()
    answer.write(HEAD)
    answer.write(b"bo")
    answer.write(HEAD)
    assert wire.packets == [HEAD + b"bo", HEAD]


def test_an_empty_body_frees_its_head() -> None:
    wire, answer = joined()
    answer.write(HEAD)
    answer.write(b"")
    assert wire.packets == [HEAD]


def test_a_head_of_unknown_length_goes_at_once() -> None:
    wire, answer = joined()
    answer.write(CHUNKED)
    assert wire.packets == [CHUNKED]
    answer.write(HEAD)  # a part, whatever is in it
    assert wire.packets == [CHUNKED, HEAD]


def test_the_word_to_go_on_goes_at_once() -> None:
    wire, answer = joined()
    answer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert len(wire.packets) == 1
    answer.write(HEAD)
    answer.write(b"body")
    assert wire.packets[1:] == [HEAD + b"body"]


def test_a_large_body_is_not_copied() -> None:
    wire, answer = joined()
    answer.write(HEAD)
    large = bytes(1 << 20)
    answer.write(large)
    assert wire.packets[0] == HEAD
    assert wire.packets[1] is large


def test_what_waits_is_sent_before_the_end() -> None:
    wire, answer = joined()
    answer.write(HEAD)
    assert not answer.is_closing()
    answer.close()
    assert wire.packets == [HEAD]
    assert answer.is_closing()
