"""A server that does as a script says, over real sockets; and both clients, asked alike."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from triptych.client import AsyncClient, Client

KINDS = ("blocking", "asyncio")


@dataclass
class Received:
    """A request as it came in."""

    line: str
    headers: dict[str, str]
    body: bytes
    at_s: float


Step = Callable[[socket.socket], None]


@dataclass
class Scripted:
    """What is going on: each request does the next step of the script."""

    url: str
    script: queue.SimpleQueue[Step]
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    left: threading.Event = field(default_factory=threading.Event)
    """Set when a client has closed a connection while its answer was being sent."""

    def then(self, *steps: Step) -> Scripted:
        for step in steps:
            self.script.put(step)
        return self


def answer(status: int, body: bytes = b"{}", **headers: str) -> Step:
    """A whole answer, after which the connection stays open."""

    def step(connection: socket.socket) -> None:
        lines = [f"HTTP/1.1 {status} Scripted", f"content-length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    return step


def reset(connection: socket.socket) -> None:
    """Cut the connection off, as a process that dies does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def pieces(*parts: bytes | float | Step, closes: bool = True) -> Step:
    """A stream: bytes are sent as chunks of their own, a number is a pause in seconds."""

    def step(connection: socket.socket) -> None:
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked"
        connection.sendall((head + "\r\n\r\n").encode())
        for part in parts:
            if isinstance(part, bytes):
                connection.sendall(b"%x\r\n%b\r\n" % (len(part), part))
            elif callable(part):
                part(connection)
                return
            else:
                time.sleep(part)
        if closes:
            connection.sendall(b"0\r\n\r\n")

    return step


def hang(connection: socket.socket) -> None:
    """Say nothing until the client leaves."""
    with contextlib.suppress(OSError):
        connection.recv(1)


def trickle(connection: socket.socket) -> None:
    """A body of which a byte comes every now and then."""
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    while True:
        time.sleep(0.02)
        connection.sendall(b" ")


def _read(connection: socket.socket) -> Received | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    return Received(first, headers, body, time.monotonic())


def _serve(connection: socket.socket, scripted: Scripted) -> None:
    with connection, contextlib.suppress(ConnectionResetError, BrokenPipeError):
        connection.settimeout(30)
        while (request := _read(connection)) is not None:
            scripted.requests.append(request)
            step = scripted.script.get(timeout=10)
            try:
                step(connection)
            except (ConnectionResetError, BrokenPipeError):
                scripted.left.set()
                return
            if connection.fileno() < 0:
                return


@contextlib.contextmanager
def scripted(*steps: Step) -> Iterator[Scripted]:
    """Listen on a free port until the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = Scripted(f"http://127.0.0.1:{listener.getsockname()[1]}", queue.SimpleQueue())
        found.then(*steps)
        threads: list[threading.Thread] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    found.connections += 1
                    thread = threading.Thread(target=_serve, args=(connection, found), daemon=True)
                    threads.append(thread)
                    thread.start()

        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield found
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join(10)
            for thread in threads:
                thread.join(10)
            assert not any(thread.is_alive() for thread in threads)
            assert found.script.empty(), "the client did not come as often as it should"


def ask(kind: str, url: str, method: str, *args: Any, client: Any = None, **options: Any) -> Any:
    """Call a method of either client; iterators as a list."""
    if kind == "blocking":
        with Client(url, **client or {}) as made:
            found = getattr(made, method)(*args, **options)
            return list(found) if hasattr(found, "__next__") else found

    async def go() -> Any:
        async with AsyncClient(url, **client or {}) as made:
            found = getattr(made, method)(*args, **options)
            if hasattr(found, "__anext__"):
                return [one async for one in found]
            return await found

    return asyncio.run(go())
