"""Request bodies: bounded, and turned into bytes, structs or the parts of a form."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeVar

import msgspec
from starlette.datastructures import FormData, Headers
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, HTTPConnection, Request

from service.errors import InvalidInputError, TooLargeError, UnsupportedMediaError

T = TypeVar("T")
_FIELD = re.compile(r" - at `\$\.?([^`]*)`$")
_DIGITS = re.compile(r"[0-9]{1,18}")


def whole_number(text: str) -> int | None:
    """The number that `text` is, of 18 digits at most; None if it is something else."""
    return int(text) if _DIGITS.fullmatch(text) else None


def header_of(request: HTTPConnection, name: bytes) -> str | None:
    """The header called `name`, in lower case; None if there is none."""
    for key, value in request.scope["headers"]:  # a dozen: no index is built for one look
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None


def media_type(request: Request) -> str:
    """The content type without its parameters, in lower case; empty when there is none."""
    return (header_of(request, b"content-type") or "").partition(";")[0].strip().lower()


async def read_body(request: Request, *, max_bytes: int) -> bytes:
    """Read the whole body.

    Raises:
        TooLargeError: longer than `max_bytes`; known from its header before it is read.
        InvalidInputError: a malformed Content-Length.
        starlette.requests.ClientDisconnect: the client went away.

    """
    length = header_of(request, b"content-length")
    declared = 0 if length is None else whole_number(length)
    if declared is None:
        raise InvalidInputError("Content-Length is not a number", field="content-length")
    if declared > max_bytes:
        raise _too_large(max_bytes)
    chunks: list[bytes] = []
    size = 0
    more = True
    receive = request.receive
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(max_bytes)
        chunks.append(chunk)
        more = message.get("more_body", False)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(max_bytes: int) -> TooLargeError:
    return TooLargeError(f"the body is larger than the limit of {max_bytes} bytes", field="body")


async def read_json(request: Request, decoder: msgspec.json.Decoder[T], *, max_bytes: int) -> T:
    """Read a JSON body into the decoder's type.

    Raises:
        UnsupportedMediaError: the content type says that it is something else.
        InvalidInputError: malformed JSON; a field that is missing, unknown, of the wrong type or
            out of range, named in `field`.
        TooLargeError: as `read_body`.

    """
    media = media_type(request)
    # curl -d sends a form's type unless told otherwise; what counts is that the body is JSON.
    if media not in ("", "application/json", "application/x-www-form-urlencoded"):
        raise UnsupportedMediaError(
            f"this route reads application/json, not {media}", field="content-type"
        )
    raw = await read_body(request, max_bytes=max_bytes)
    if not raw:
        raise InvalidInputError("the body is empty; this route reads a JSON object", field="body")
    return decode_json(raw, decoder)


def decode_json(raw: bytes | memoryview | str, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode; raises InvalidInputError that names the field."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise _naming_field(error) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(f"the body is not valid JSON: {error}", field="body") from error


def convert(fields: Mapping[str, Any], into: type[T]) -> T:
    """Validate plain values as `into`; raises InvalidInputError that names the field."""
    try:
        return msgspec.convert(fields, into)
    except msgspec.ValidationError as error:
        raise _naming_field(error) from error


def _naming_field(error: msgspec.ValidationError) -> InvalidInputError:
    message = str(error)
    found = _FIELD.search(message) or re.search(r"field `([^`]+)`", message)
    field = found[1] if found else "body"
    return InvalidInputError(f"{field}: {_FIELD.sub('', message)}", field=field)


def _boundary(content_type: str) -> bytes | None:
    match = re.search(r'boundary="?([^";,]+)"?', content_type, flags=re.IGNORECASE)
    return match[1].encode("latin-1") if match else None


async def read_form(request: Request, *, max_bytes: int, max_files: int) -> FormData:
    """Read a multipart form whose whole body is bounded.

    Raises:
        InvalidInputError: malformed, or cut off before its closing boundary.
        TooLargeError: more than `max_files` files, or as `read_body`.

    """
    raw = await read_body(request, max_bytes=max_bytes)
    return await parse_form(raw, request.headers, max_bytes=max_bytes, max_files=max_files)


async def parse_form(raw: bytes, headers: Headers, *, max_bytes: int, max_files: int) -> FormData:
    """Parse a multipart body that is already read; raises as `read_form`."""
    boundary = _boundary(headers.get("content-type", ""))
    if boundary is None:
        raise InvalidInputError("the multipart body names no boundary", field="content-type")
    if not raw.rstrip().endswith(b"--" + boundary + b"--"):
        raise InvalidInputError(
            "the multipart body ends before its closing boundary: it was cut off", field="body"
        )

    async def once() -> AsyncIterator[bytes]:
        yield raw

    parser = MultiPartParser(
        headers,
        once(),  # type: ignore[arg-type]
        max_files=max_files,
        max_fields=64,
        max_part_size=max_bytes,
    )
    # Keep the parts in memory: the body is bounded and already there.
    parser.spool_max_size = max_bytes + 1
    try:
        return await parser.parse()
    except MultiPartException as error:
        if "Too many files" in error.message:
            raise TooLargeError(
                f"more than {max_files} files; that is the limit", field="files"
            ) from error
        raise InvalidInputError(f"malformed multipart: {error.message}", field="body") from error
    except Exception as error:  # the parser lets a malformed header's own errors through
        raise InvalidInputError(f"malformed multipart: {error}", field="body") from error
