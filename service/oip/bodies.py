"""Bodies with binary tensors behind their JSON, and compressed ones.

The header Inference-Header-Content-Length says how long the JSON is; the tensors' bytes follow it
in their order (Triton's binary tensor data extension). gzip and deflate (RFC 1952, RFC 1950) are
undone before that is looked at.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor

from starlette.requests import Request
from starlette.responses import Response

from service.errors import InvalidInputError, TooLargeError, UnsupportedMediaError
from service.http.answers import Bytes
from service.http.bodies import read_body, whole_number

HEADER_LENGTH = "inference-header-content-length"
_WBITS = {"gzip": 31, "deflate": 15}
_FAST = 1  # tensors hardly shrink further at a higher level
_INLINE_BYTES = 64 * 1024
"""More is compressed and inflated on a thread."""
_SMALLEST_COMPRESSED = 1024
"""A shorter answer would not be worth it."""


async def read_inflated(request: Request, *, max_bytes: int, threads: Executor) -> bytes:
    """Read the whole body and undo its Content-Encoding.

    Raises:
        TooLargeError: longer than `max_bytes`, as sent or inflated; it is inflated no further.
        InvalidInputError: it is not what its Content-Encoding says, or is cut off.
        UnsupportedMediaError: another encoding.

    """
    raw = await read_body(request, max_bytes=max_bytes)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity":
        return raw
    if encoding not in _WBITS:
        raise UnsupportedMediaError(
            f"content-encoding must be gzip or deflate, not {encoding[:40]!r}",
            field="content-encoding",
        )
    if len(raw) <= _INLINE_BYTES // 16:
        return inflate(raw, encoding, max_bytes)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(threads, inflate, raw, encoding, max_bytes)


def inflate(raw: bytes, encoding: str, max_bytes: int) -> bytes:
    """Undo `encoding`, `gzip` or `deflate`; raises as `read_inflated`."""
    stream = zlib.decompressobj(_WBITS[encoding])
    try:
        body = stream.decompress(raw, max_bytes + 1)
    except zlib.error as error:
        raise InvalidInputError(f"the body is not {encoding}: {error}", field="body") from error
    if len(body) > max_bytes:
        raise TooLargeError(
            f"the body inflates beyond the limit of {max_bytes} bytes", field="body"
        )
    if not stream.eof:
        raise InvalidInputError(f"the {encoding} body ends too soon: it was cut off", field="body")
    if stream.unused_data:
        raise InvalidInputError(f"bytes follow the {encoding} body's end", field="body")
    return body


def split(headers: Mapping[str, str], body: bytes) -> tuple[bytes, memoryview | None]:
    """Part the JSON from what follows it; None if there is no header that says where.

    Raises InvalidInputError if the header is no number, or one beyond the body.
    """
    text = headers.get(HEADER_LENGTH)
    if text is None:
        return body, None
    length = whole_number(text)
    if length is None or length > len(body):
        raise InvalidInputError(
            f"Inference-Header-Content-Length must be a number up to the body's {len(body)} bytes",
            field=HEADER_LENGTH,
        )
    return body[:length], memoryview(body)[length:]


def accepted_encoding(headers: Mapping[str, str]) -> str | None:
    """`gzip`, `deflate` or None: what the client would rather have (RFC 9110, section 12.5.3)."""
    best, best_weight = None, 0.0
    for part in headers.get("accept-encoding", "").lower().split(","):
        coding, _, parameter = part.partition(";")
        if (coding := coding.strip()) not in _WBITS:
            continue
        name, _, text = parameter.strip().partition("=")
        try:
            weight = float(text) if name.strip() == "q" else 1.0
        except ValueError:
            weight = 0.0
        if weight > best_weight:
            best, best_weight = coding, weight
    return best


def deflated(parts: Iterable[bytes | memoryview], encoding: str) -> bytes:
    """Compress the parts, one after the other."""
    stream = zlib.compressobj(_FAST, wbits=_WBITS[encoding])
    return b"".join([*map(stream.compress, parts), stream.flush()])


async def tensor_answer(
    request: Request,
    header: bytes,
    tensors: Sequence[bytes | memoryview],
    *,
    headers: Mapping[str, str],
    threads: Executor,
) -> Response:
    """Answer with JSON and the raw tensors behind it, compressed if the client accepts that."""
    told = dict(headers)
    if tensors:
        told[HEADER_LENGTH] = str(len(header))
    size = len(header) + sum(map(len, tensors))
    encoding = accepted_encoding(request.headers) if size >= _SMALLEST_COMPRESSED else None
    parts = [header, *tensors]
    if encoding is None:
        body = b"".join(parts) if tensors else header
    elif size <= _INLINE_BYTES:
        body = deflated(parts, encoding)
    else:
        loop = asyncio.get_running_loop()
        body = await loop.run_in_executor(threads, deflated, parts, encoding)
    if encoding is not None:
        told |= {"content-encoding": encoding, "vary": "accept-encoding"}
    media = b"application/octet-stream" if tensors else b"application/json"
    return Bytes(body, media_type=media, headers=told)
