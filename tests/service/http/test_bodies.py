"""Bodies are bounded, and what is wrong with one is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from service.errors import (
    InvalidInputError,
    TooLargeError,
    TriptychError,
    UnsupportedMediaError,
)
from service.http.bodies import media_type, read_body, read_form, read_json, whole_number
from service.http.completions import CompletionRequest

pytestmark = pytest.mark.anyio

DECODER = msgspec.json.Decoder(CompletionRequest)


def request(*chunks: bytes, headers: Mapping[str, str] | None = None, ends: bool = True) -> Request:
    """A request whose body comes in chunks; one that does not end is cut off by a disconnect."""
    messages: list[Message] = [
        {"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks
    ]
    if ends:
        messages.append({"type": "http.request", "body": b"", "more_body": False})
    messages.append({"type": "http.disconnect"})
    waiting = iter(messages)

    async def receive() -> Message:
        return next(waiting)

    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw}, receive)


def json_of(raw: bytes, content_type: str = "application/json") -> Request:
    return request(raw, headers={"content-type": content_type})


async def refusal(raw: bytes) -> TriptychError:
    with pytest.raises(InvalidInputError) as caught:
        await read_json(json_of(raw), DECODER, max_bytes=10_000)
    return caught.value


async def test_chunks_are_joined() -> None:
    assert await read_body(request(b"ab", b"", b"c"), max_bytes=3) == b"abc"
    assert await read_body(request(), max_bytes=3) == b""


async def test_a_declared_length_is_refused_before_it_is_read() -> None:
    declared = request(headers={"content-length": "4"}, ends=False)
    with pytest.raises(TooLargeError, match="limit of 3 bytes") as caught:
        await read_body(declared, max_bytes=3)
    assert caught.value.field == "body"


async def test_an_undeclared_length_is_bounded_as_it_comes() -> None:
    with pytest.raises(TooLargeError):
        await read_body(request(b"ab", b"cd", ends=False), max_bytes=3)


@pytest.mark.parametrize("length", ["x", "-1", "1.5", "", "9" * 5000, "²"])
async def test_a_malformed_length_is_refused(length: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        await read_body(request(headers={"content-length": length}), max_bytes=3)
    assert caught.value.field == "content-length"


async def test_a_client_that_goes_away_is_not_an_answer() -> None:
    with pytest.raises(ClientDisconnect):
        await read_body(request(b"ab", ends=False), max_bytes=3)


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("012", 12), ("9" * 18, 10**18 - 1), ("9" * 19, None), ("", None), ("-1", None),
     ("1_0", None), (" 1", None), ("٣", None), ("1\n", None)],
)  # fmt: skip
def test_whole_numbers(text: str, number: int | None) -> None:
    assert whole_number(text) == number


def test_the_media_type_is_without_parameters() -> None:
    assert media_type(json_of(b"", "Application/JSON; charset=utf-8")) == "application/json"
    assert media_type(request()) == ""


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", ""]
)
async def test_json_is_read(content_type: str) -> None:
    asked = await read_json(
        json_of(b'{"prompt": "a", "n": 2}', content_type), DECODER, max_bytes=99
    )
    assert (asked.prompt, asked.n) == ("a", 2)


async def test_another_content_type_is_refused() -> None:
    with pytest.raises(UnsupportedMediaError, match="not text/html") as caught:
        await read_json(json_of(b"{}", "text/html"), DECODER, max_bytes=99)
    assert caught.value.field == "content-type"


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"nonsense", "body"),
        (b'{"prompt": "\xff"}', "body"),
        (b'{"prompt": "\\ud800"}', "body"),
        (b"[" * 5000, "body"),
        (b"[1]", "body"),
        (b"null", "body"),
        (b'"text"', "body"),
        (b'{"unheard_of": 1}', "unheard_of"),
        (b'{"temperature": "warm"}', "temperature"),
        (b'{"temperature": 2.5}', "temperature"),
        (b'{"temperature": NaN}', "body"),
        (b'{"temperature": 1e999}', "temperature"),
        (b'{"n": 0}', "n"),
        (b'{"n": 1.5}', "n"),
        (b'{"seed": -1}', "seed"),
        (b'{"seed": 9223372036854775808}', "seed"),
        (b'{"stream_options": {"include": 1}}', "stream_options"),
        (b'{"stream_options": {"include_usage": 1}}', "stream_options.include_usage"),
        (b'{"prompt": 5}', "prompt"),
        (b'{"logprobs": 6}', "logprobs"),
    ],
)
async def test_what_is_wrong_is_named(raw: bytes, field: str) -> None:
    error = await refusal(raw)
    assert error.field == field
    assert error.status == 400


def multipart(body: bytes, boundary: str = "frame") -> Request:
    return request(body, headers={"content-type": f"multipart/form-data; boundary={boundary}"})


def part(name: str, content: bytes, *, filename: str | None = None) -> bytes:
    disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
    return (
        b"--frame\r\nContent-Disposition: " + disposition.encode() + b"\r\n\r\n" + content + b"\r\n"
    )


END = b"--frame--\r\n"


async def files_of(body: bytes, **limits: int) -> Sequence[tuple[str, Any]]:
    form = await read_form(multipart(body), **({"max_bytes": 10_000, "max_files": 3} | limits))
    found = [
        (name, await value.read() if isinstance(value, UploadFile) else value)
        for name, value in form.multi_items()
    ]
    await form.close()
    return found


async def test_a_form_holds_files_and_fields() -> None:
    body = part("a", b"1\x00\xff", filename="x.png") + part("b", b"text") + END
    assert await files_of(body) == [("a", b"1\x00\xff"), ("b", "text")]


async def test_files_are_counted() -> None:
    body = part("a", b"1", filename="x") * 4 + END
    with pytest.raises(TooLargeError, match="3 files") as caught:
        await files_of(body)
    assert caught.value.field == "files"


async def test_a_form_is_bounded_as_a_whole() -> None:
    body = part("a", b"1" * 500, filename="x") + END
    with pytest.raises(TooLargeError, match="limit of 400 bytes"):
        await files_of(body, max_bytes=400)


@pytest.mark.parametrize(
    "body",
    [
        part("a", b"1", filename="x"),
        part("a", b"1", filename="x")[:-10],
        b"",
        b"nonsense",
        b"--frame\r\nnonsense\r\n" + END,
        b"--frame\r\nContent-Disposition: form-data\r\n\r\nx\r\n" + END,
        part("a", b"x") * 65 + END,
    ],
)
async def test_a_malformed_form_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInputError) as caught:
        await files_of(body)
    assert caught.value.field == "body"


async def test_a_form_without_a_boundary_is_refused() -> None:
    bare = request(b"x", headers={"content-type": "multipart/form-data"})
    with pytest.raises(InvalidInputError, match="boundary") as caught:
        await read_form(bare, max_bytes=99, max_files=1)
    assert caught.value.field == "content-type"
