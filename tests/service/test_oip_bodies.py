"""Compressed bodies, and JSON with tensors behind it."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest

from service.errors import InvalidInputError, TooLargeError
from service.oip.bodies import HEADER_LENGTH, accepted_encoding, deflated, inflate, split

UNDO = {"gzip": gzip.decompress, "deflate": zlib.decompress}
DO = {"gzip": gzip.compress, "deflate": zlib.compress}


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_both_encodings_both_ways(encoding: str) -> None:
    parts = [b'{"a": 1}', memoryview(bytes(range(256)) * 40)]
    assert UNDO[encoding](deflated(parts, encoding)) == b"".join(parts)
    assert inflate(DO[encoding](b"".join(parts)), encoding, 20_000) == b"".join(parts)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_is_never_inflated(encoding: str) -> None:
    bomb = DO[encoding](bytes(200 * 2**20))
    tracemalloc.start()
    with pytest.raises(TooLargeError, match="1048576 bytes"):
        inflate(bomb, encoding, 2**20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 2**20


def test_a_body_at_the_limit() -> None:
    assert len(inflate(gzip.compress(bytes(1000)), "gzip", 1000)) == 1000
    with pytest.raises(TooLargeError):
        inflate(gzip.compress(bytes(1001)), "gzip", 1000)


@pytest.mark.parametrize(
    ("raw", "encoding", "piece"),
    [
        (b"", "gzip", "cut off"),
        (b"plain", "gzip", "is not gzip"),
        (gzip.compress(b"x", mtime=0), "deflate", "is not deflate"),
        (gzip.compress(b"x" * 100, mtime=0)[:-1], "gzip", "cut off"),
        (gzip.compress(b"x", mtime=0) + b"y", "gzip", "follow the gzip"),
    ],
)
def test_what_is_not_what_it_claims(raw: bytes, encoding: str, piece: str) -> None:
    with pytest.raises(InvalidInputError, match=piece):
        inflate(raw, encoding, 1000)


def test_json_and_what_follows_it() -> None:
    body = b"{}tensors"
    assert split({}, body) == (body, None)
    json, binary = split({HEADER_LENGTH: "2"}, body)
    assert (json, bytes(binary or b"")) == (b"{}", b"tensors")
    assert split({HEADER_LENGTH: "9"}, body)[1] == memoryview(b"")


@pytest.mark.parametrize("length", ["10", "-1", "2.0", "", "9" * 30, "two"])
def test_a_length_that_is_none(length: str) -> None:
    with pytest.raises(InvalidInputError, match="Inference-Header-Content-Length"):
        split({HEADER_LENGTH: length}, b"{}tensors")


@pytest.mark.parametrize(
    ("accepts", "expected"),
    [
        ("", None),
        ("identity", None),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("deflate, gzip", "deflate"),
        ("br, gzip;q=0.5, deflate;q=0.9", "deflate"),
        ("gzip;q=0", None),
        ("gzip;q=much", None),
        ("br", None),
    ],
)
def test_what_the_client_would_rather_have(accepts: str, expected: str | None) -> None:
    assert accepted_encoding({"accept-encoding": accepts}) == expected
