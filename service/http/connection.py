"""Limits on connections, which uvicorn has not: open ones, heads, slow clients, pipelines.

The application sees a request once its head is complete, so what comes before that is held here,
in subclasses of the protocols that uvicorn uses: httptools for HTTP, wsproto for WebSockets. A
request that arrives in one piece, as nearly all do, costs a few comparisons more, and no timer.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any, ClassVar

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.protocols.websockets.wsproto_impl import WebsocketBuffer, WSProtocol

from service.drain import DRAIN, running_server
from service.errors import (
    InvalidInputError,
    LargeHeadError,
    LongAddressError,
    NotReadyError,
    SlowRequestError,
    TriptychError,
)
from service.http.answers import error_body
from service.http.joined import Joined
from service.settings import Settings

MAX_ADDRESS_BYTES = 8192
"""Longest path with its query."""
MAX_HEADERS = 100
MAX_PIPELINED = 16
"""Most requests that may wait on a connection behind the one that is answered."""
MAX_GRPC_CALLS = 256
"""Most calls of a gRPC connection at once; more wait."""
_OTHER_FILES = 512
"""Open files beside the connections: models, metrics, the store's notices."""
_LEAST_TAKEN_BYTES = 1024
"""A client must take so much of a waiting answer in each `client_timeout_s`."""


def limit_connections(settings: Settings) -> bool:
    """Make the server that runs this process use the protocols below; False if there is none.

    To be called before it listens, that is while the application starts.
    """
    server = running_server()
    if server is None:
        return False
    Connection.settings = SocketConnection.settings = settings
    _allow_files(settings.max_connections + _OTHER_FILES)
    server.config.http_protocol_class = Connection
    server.config.ws_protocol_class = SocketConnection
    return True


def _allow_files(wanted: int) -> None:
    """Raise this process's soft limit of open files, as far as the hard one lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class _Heard:
    """Cuts a client off that takes next to nothing of what waits for it."""

    settings: ClassVar[Settings]
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    _check: asyncio.TimerHandle | None = None
    _waiting_bytes = 0

    def pause_writing(self) -> None:
        """The client does not keep up."""
        super().pause_writing()  # type: ignore[misc]
        self._look()

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()  # type: ignore[misc]
        self._look_no_more()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go."""
        self._look_no_more()
        super().connection_lost(exc)  # type: ignore[misc]

    def _look(self) -> None:
        self._waiting_bytes = self.transport.get_write_buffer_size()
        self._check = self.loop.call_later(self.settings.client_timeout_s, self._look_again)

    def _look_again(self) -> None:
        taken_bytes = self._waiting_bytes - self.transport.get_write_buffer_size()
        if taken_bytes < _LEAST_TAKEN_BYTES:
            self.transport.abort()
        else:
            self._look()

    def _look_no_more(self) -> None:
        if self._check is not None:
            self._check.cancel()
            self._check = None


class SocketConnection(_Heard, WSProtocol):
    """A WebSocket whose messages are bounded as bodies are."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # Twice: a little too much is answered by the application, which names the limit.
        self.buffer = WebsocketBuffer(2 * self.settings.max_body_bytes)


class Connection(_Heard, HttpToolsProtocol):
    """A connection whose client must be brief, quick, and listen."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._max_head_bytes = self.settings.max_head_bytes
        self._timeout_s = self.settings.client_timeout_s
        self._arriving = False
        """Whether part of a request has come, and not all."""
        self._in_head = False
        """Whether part of its head has come, and not all."""
        self._begun = 0
        """Requests that began in the data that came last."""
        self._head_bytes = 0
        """Of a head that is not complete: what came of it, as far as is known."""
        self._measured = False
        """Whether the head must be measured; few can be too large."""
        self._piped: list[RequestResponseCycle] = []
        """Requests behind which others wait; uvicorn knows the last one alone."""
        self._refusal: TriptychError | None = None
        self._clock: asyncio.TimerHandle | None = None

    # --- the connection -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take it, if need be in the place of an idle one; or refuse it."""
        super().connection_made(transport)
        if len(self.connections) > self.settings.max_connections and not self._replace_idle():
            self._answer(NotReadyError("too many connections are open"))
            return
        self._clock = self.loop.call_later(self._timeout_s, self._too_slow)

    def _replace_idle(self) -> bool:
        """Close a connection that waits for its client's next request, if there is one."""
        for other in self.connections:
            if isinstance(other, Connection) and other.idle:
                other.transport.close()
                return True
        return False

    @property
    def idle(self) -> bool:
        """Whether all that came was answered."""
        waits = self.timeout_keep_alive_task is not None and not self._arriving
        return waits and not self.transport.is_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go, and tell every request of it."""
        self._stop_clock()
        for cycle in self._piped:
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)

    # --- a request that arrives -------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse; bound a head that is not complete, and time what is not whole."""
        fresh, self._begun = not self._arriving, 0
        self._measured = self._head_bytes + len(data) > self._max_head_bytes
        HttpToolsProtocol.data_received(self, data)  # by name: on every request's way
        if not self._arriving or self.transport.is_closing():
            return
        if self._in_head:
            if not self._begun or (fresh and self._begun == 1):
                self._head_bytes += len(data)
            else:  # it begins somewhere behind another request
                self._head_bytes = self._parsed_bytes
            if self._head_bytes > self._max_head_bytes:
                self._answer(self._large_head())
                return
        if self._clock is None:
            self._clock = self.loop.call_later(self._timeout_s, self._too_slow)

    @property
    def _parsed_bytes(self) -> int:
        """The size of what is parsed of a head, as it is on the wire without optional spaces."""
        fields = sum(len(name) + len(value) + len(": \r\n") for name, value in self.headers)
        line = len(self.parser.get_method()) + len(self.url) + len("  HTTP/1.1\r\n")
        return line + fields + len("\r\n")

    def _large_head(self) -> LargeHeadError:
        return LargeHeadError(f"the request's head is larger than {self._max_head_bytes} bytes")

    def on_message_begin(self) -> None:
        """A request's first byte."""
        self._arriving = self._in_head = True
        self._begun += 1
        self._head_bytes = 0
        HttpToolsProtocol.on_message_begin(self)

    def on_headers_complete(self) -> None:
        """The head is there: refuse one over a limit, else start on it."""
        if len(self.url) > MAX_ADDRESS_BYTES:
            self._refuse(LongAddressError(f"the address exceeds {MAX_ADDRESS_BYTES} bytes"))
        if len(self.headers) > MAX_HEADERS:
            self._refuse(LargeHeadError(f"there are more than {MAX_HEADERS} headers"))
        if self._measured and self._parsed_bytes > self._max_head_bytes:
            self._refuse(self._large_head())
        if len(self.pipeline) >= MAX_PIPELINED:
            self._refuse(InvalidInputError("too many requests wait on this connection"))
        self._in_head = False
        self._head_bytes = 0
        before = self.cycle
        HttpToolsProtocol.on_headers_complete(self)
        if self.cycle is not before and self.scope["method"] != "HEAD":  # whose answer is a head
            self.cycle.transport = Joined(self.transport)  # type: ignore[assignment]  # all it uses
        if self.pipeline:
            self._piped.append(before)
        elif self._piped:
            self._piped = []
        if DRAIN.state != "serving" and self.cycle is not None:
            self.cycle.keep_alive = False  # the client's next request finds another server

    def on_message_complete(self) -> None:
        """A request's last byte."""
        self._arriving = False
        if self._clock is not None:
            self._stop_clock()
        HttpToolsProtocol.on_message_complete(self)

    def _refuse(self, error: TriptychError) -> None:
        self._refusal = error
        raise httptools.HttpParserError(error.message)  # the parser stops, and tells so

    def send_400_response(self, msg: str) -> None:
        """What the parser refused, or we by it."""
        self._answer(self._refusal or InvalidInputError("malformed HTTP"))

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _too_slow(self) -> None:
        self._clock = None
        if self.transport.is_closing():
            return
        if not self._arriving:  # it opened the connection and said nothing
            self.transport.close()
            return
        self._answer(
            SlowRequestError(f"the request did not come in whole within {self._timeout_s:g} s")
        )

    def _answer(self, error: TriptychError) -> None:
        """Answer the request that is arriving in the application's place; close the connection.

        Without a word if that would fall into another answer, or follow the application's own.
        """
        cycle = self.cycle
        busy = cycle is not None and not cycle.response_complete
        if not self._arriving:
            free = True
        elif self._in_head:
            free = not busy
        else:
            free = busy and not cycle.response_started and not self.pipeline
        if free:
            body = msgspec.json.encode(error_body(error))
            self.transport.write(
                b"%bcontent-type: application/json\r\ncontent-length: %d\r\n"
                b"connection: close\r\n\r\n%b" % (STATUS_LINE[error.status], len(body), body)
            )
        if busy:
            cycle.disconnected = True
            cycle.message_event.set()
        self._stop_clock()
        self.transport.close()
