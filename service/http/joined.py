"""An answer's head and body in one packet.

uvicorn writes them one after the other, and the event loop sends each at once: two calls of the
system, and two times that the client wakes. Of a small answer they were a tenth of the work.
"""

from __future__ import annotations

import asyncio

_CONTINUE = b"HTTP/1.1 100 "
_LENGTH = b"\r\ncontent-length: "
_MOST_BYTES = 1 << 16
"""A larger body is not copied behind its head."""


class Joined:
    """What one request's answer is written to, in the place of its connection's transport.

    The head of an answer whose length is known waits for what is written next. Others, whose first
    part may be long in coming, go out at once.
    """

    __slots__ = ("_head", "_started", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self._started = False

    def write(self, data: bytes) -> None:
        """Take a head, or part of a body."""
        if self._head:
            head, self._head = self._head, b""
            if len(data) > _MOST_BYTES:
                self._transport.write(head)
            else:
                data = head + data
        elif not self._started and not data.startswith(_CONTINUE):
            self._started = True
            if _LENGTH in data:
                self._head = data
                return
        self._transport.write(data)

    def close(self) -> None:
        """Send what waits, then close."""
        if self._head:
            self._transport.write(self._head)
            self._head = b""
        self._transport.close()

    def is_closing(self) -> bool:
        """As the connection's."""
        return self._transport.is_closing()
