"""A closed-loop load generator: keep-alive connections over plain sockets.

Each connection sends one request at a time. Of an answer no more than its length is parsed while
the clock runs, so that one core of generator can load one core of server; its own CPU time is
part of the result, so that a reader can see whether it did.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

import uvloop

_CONNECTING = 100  # connections opened at a time: a listen queue is finite
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Load:
    """What to send: `body` to `path`, over `connections`, for `duration_s`.

    Of streamed answers the events' characters are counted, after the clock has stopped;
    one that has not `characters` of them has failed.
    """

    path: str
    content_type: str
    body: bytes
    connections: int
    duration_s: float
    headers: Mapping[str, str] = field(default_factory=dict)
    characters: int = 0

    def request(self) -> bytes:
        """The bytes on the wire."""
        lines = [
            f"POST {self.path} HTTP/1.1",
            "host: bench",
            f"content-type: {self.content_type}",
            f"content-length: {len(self.body)}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


class Connection(asyncio.Protocol):
    """Sends a request, and again for as long as `on_answer` says so.

    At `on_answer`, `answer` holds head and body, and `sent_s`, `first_s`, `last_s` when the
    request was sent, the first event of a stream was read, and the last byte was.
    """

    def __init__(self, request: bytes, on_answer: Callable[[Connection], bool]) -> None:
        self._request = request
        self._on_answer = on_answer
        self.answer = bytearray()
        self._size = 0  # of the whole answer; 0: not known yet; -1: a stream
        self.sent_s = self.first_s = self.last_s = 0.0
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class

    def send(self, request: bytes | None = None) -> None:
        if request is not None:
            self._request = request
        self.answer.clear()
        self._size = 0
        self.first_s = 0.0
        self.sent_s = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.answer += data
        if self._size == 0:
            end = self.answer.find(b"\r\n\r\n")
            if end < 0:
                return
            length = _LENGTH.search(self.answer, 0, end)
            self._size = end + 4 + int(length[1]) if length else -1
        if self._size < 0:
            if self.first_s == 0.0 and b"data:" in data:
                self.first_s = time.perf_counter()
            if not self.answer.endswith(b"\r\n0\r\n\r\n"):  # a stream ends with an empty chunk
                return
        elif len(self.answer) < self._size:
            return
        self.last_s = time.perf_counter()
        self.answered()

    def answered(self) -> None:
        """The whole answer is there."""
        if self._on_answer(self):
            self.send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)


async def connect(
    port: int, count: int, request: bytes, on_answer: Callable[[Connection], bool]
) -> list[Connection]:
    """Open `count` connections, none of which has sent anything yet."""
    loop = asyncio.get_running_loop()
    opened: list[Connection] = []
    while len(opened) < count:
        waiting = min(_CONNECTING, count - len(opened))
        pairs = await asyncio.gather(
            *(
                loop.create_connection(lambda: Connection(request, on_answer), "127.0.0.1", port)
                for _ in range(waiting)
            )
        )
        opened += [protocol for _, protocol in pairs]
    return opened


def characters(answer: bytes) -> int:
    """Characters in the events of a streamed completion: an event may hold several."""
    _, _, rest = answer.partition(b"\r\n\r\n")
    body = bytearray()
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body += rest[:length]
        rest = rest[length + 2 :]
    total = 0
    for line in bytes(body).split(b"\n"):
        if line.startswith(b"data: {"):
            choices = json.loads(line[6:])["choices"]
            total += sum(len(choice["text"]) for choice in choices)
    return total


async def _drive(port: int, load: Load) -> dict[str, object]:
    latencies_s: list[float] = []
    answers: list[bytes] = []
    failures: list[str] = []
    stop_s = 0.0

    def on_answer(connection: Connection) -> bool:
        if connection.answer.startswith(b"HTTP/1.1 200"):
            latencies_s.append(connection.last_s - connection.sent_s)
            if load.characters:
                answers.append(bytes(connection.answer))
        else:
            failures.append(connection.answer[:500].decode(errors="replace"))
        return connection.last_s < stop_s

    connections = await connect(port, load.connections, load.request(), on_answer)
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    stop_s = start_s + load.duration_s
    for connection in connections:
        connection.send()
    await asyncio.gather(*(connection.lost for connection in connections))
    elapsed_s = time.perf_counter() - start_s
    cpu_s = time.process_time() - start_cpu_s
    failures += ["cut off" for c in connections if c.last_s < c.sent_s]
    counts = [characters(answer) for answer in answers]
    failures += [f"{n} characters" for n in counts if n != load.characters]
    return {
        "elapsed_s": elapsed_s,
        "cpu_s": cpu_s,
        "latencies_s": latencies_s,
        "failed": len(failures),
        "failure": failures[0] if failures else "",
    }


def main() -> None:
    """Read port and load as JSON and a body from standard input; write the result as JSON."""
    head = json.loads(sys.stdin.buffer.readline())
    body = sys.stdin.buffer.read()
    load = Load(**{**head["load"], "body": body})
    json.dump(uvloop.run(_drive(head["port"], load)), sys.stdout)


if __name__ == "__main__":
    main()
