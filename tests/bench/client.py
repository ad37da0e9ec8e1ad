"""A closed-loop load generator: keep-alive connections over plain sockets.

Each connection sends one request at a time. Of an answer no more than its length is parsed, so
that one core of generator can load one core of server.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from typing import cast

import uvloop


@dataclass(frozen=True)
class Load:
    """What to send: `body` to `path`, over `connections`, for `duration_s`."""

    path: str
    content_type: str
    body: bytes
    connections: int
    duration_s: float

    def request(self) -> bytes:
        """The bytes on the wire."""
        head = (
            f"POST {self.path} HTTP/1.1\r\nhost: bench\r\ncontent-type: {self.content_type}\r\n"
            f"content-length: {len(self.body)}\r\n\r\n"
        )
        return head.encode() + self.body


class _Connection(asyncio.Protocol):
    """Sends the request again as soon as its answer is complete, until told to stop."""

    def __init__(self, request: bytes, latencies_s: list[float], stop_s: float) -> None:
        self._request = request
        self._latencies_s = latencies_s
        self._stop_s = stop_s
        self._buffer = bytearray()
        self._sent_s = 0.0
        self.failed = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class
        self._send()

    def _send(self) -> None:
        self._sent_s = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._complete():
            return
        now_s = time.perf_counter()
        if self._buffer.startswith(b"HTTP/1.1 200"):
            self._latencies_s.append(now_s - self._sent_s)
        else:
            self.failed += 1
        self._buffer.clear()
        if now_s < self._stop_s:
            self._send()
        else:
            self._transport.close()

    def _complete(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._buffer[:end]).lower()
        start = head.find(b"content-length:")
        if start < 0:  # chunked: a stream ends with an empty chunk
            return self._buffer.endswith(b"\r\n0\r\n\r\n")
        length = int(head[start + 15 :].split(b"\r\n", 1)[0])
        return len(self._buffer) >= end + 4 + length

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self.failed += 1
        if not self.done.done():
            self.done.set_result(None)


async def _drive(port: int, load: Load) -> dict[str, object]:
    loop = asyncio.get_running_loop()
    latencies_s: list[float] = []
    request = load.request()
    start_s = time.perf_counter()
    connections = []
    for _ in range(load.connections):
        _, protocol = await loop.create_connection(
            lambda: _Connection(request, latencies_s, start_s + load.duration_s),
            "127.0.0.1",
            port,
        )
        connections.append(protocol)
    await asyncio.gather(*(protocol.done for protocol in connections))
    return {
        "elapsed_s": time.perf_counter() - start_s,
        "latencies_s": latencies_s,
        "failed": sum(protocol.failed for protocol in connections),
    }


def main() -> None:
    """Read port and load as JSON and a body from standard input; write the result as JSON."""
    head = json.loads(sys.stdin.buffer.readline())
    body = sys.stdin.buffer.read()
    load = Load(body=body, **head["load"])
    json.dump(uvloop.run(_drive(head["port"], load)), sys.stdout)


if __name__ == "__main__":
    main()
