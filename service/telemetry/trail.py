"""The trail of one request through this process: who it was, what it met, and when.

Those who do the work leave their marks on the trail that they find in `TRAIL`, which is None unless
logs or traces are on. Times are `time.perf_counter`'s; 0 where a request never got to that point.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import Literal

from service.chance import fresh_span_id
from service.telemetry.identity import TraceParent

Protocol = Literal["http", "websocket", "grpc"]


@dataclass(slots=True, eq=False)
class Trail:
    """One request.

    Args:
        request_id: the client's or ours.
        protocol: over which it came.
        method: of HTTP, or the name of a gRPC call.
        path: without the query, which may hold what nobody may log.
        parent: the caller's place in a trace.
        trace_id: of the trace that its spans belong to; 0 if it is not traced.
        span_id: of its first span, whose children the others are.
        logged: whether it is in the sample that is logged.
        on_end: called once, when its answer is sent or given up.

    """

    request_id: str
    protocol: Protocol
    method: str
    path: str
    parent: TraceParent | None = None
    trace_id: int = 0
    span_id: int = 0
    logged: bool = False
    on_end: Callable[[Trail], None] | None = None

    started_ns: int = field(default_factory=time.time_ns)
    started_s: float = field(default_factory=time.perf_counter)
    read_s: float = 0.0
    """The body was whole."""
    queued_s: float = 0.0
    """Decoded, and put into a queue."""
    joined_s: float = 0.0
    """The first of its rows went into a run, or its prompt began to be read."""
    first_s: float = 0.0
    """The first characters of a stream came."""
    ran_s: float = 0.0
    """The last of its rows came out."""
    ended_s: float = 0.0
    """The answer's last byte was handed to the server."""

    route: str = ""
    """As in `triptych_requests_total`."""
    template: str = ""
    """The path of its route with names in place of values; empty if no route is known."""
    outcome: str = ""
    status: int = 0
    """HTTP's, or gRPC's code; 0 where there is none."""
    model: str = ""
    version: str = ""
    client: str = ""
    """The id of the key that the client showed, if access is controlled."""
    rows: int = 0
    """Images, pictures, texts or tensor rows that were queued."""
    tokens: int = 0
    """Characters written."""
    inference_s: float = 0.0
    streamed: bool = False
    together: int = 0
    """Most sequences, of all requests, that its own were written with."""
    batches: list[tuple[int, int]] = field(default_factory=list)
    """Number and rows of the runs that it was part of; the number is this process' own."""
    bytes_in: int = 0
    bytes_out: int = 0
    _parts: int = 0

    @property
    def failed(self) -> bool:
        """Whether it ended in a way that is not the client's doing."""
        by_status = self.protocol != "grpc" and self.status >= 500
        return by_status or self.outcome in ("error", "deadline", "not_ready")

    def read(self, size: int, *, last: bool) -> None:
        """Note a piece of the body."""
        self.bytes_in += size
        if last and not self.read_s:
            self.read_s = time.perf_counter()

    def served_by(self, model: str, version: str) -> None:
        """Note whose answer it will be."""
        self.model, self.version = model, version

    def join(self, rows: int) -> bool:
        """Note that it is queued; False if it was before: copies for a trial leave no marks."""
        if self.queued_s:
            return False
        self.queued_s = time.perf_counter()
        self.rows = rows
        return True

    def join_sequence(self, *, streamed: bool) -> None:
        """Note that one more text is queued."""
        self.queued_s = self.queued_s or time.perf_counter()
        self.rows += 1
        self.streamed = streamed

    def ran(self, run: tuple[int, int], joined_s: float, elapsed_s: float) -> None:
        """Note a run, by number and rows, with some of its rows; the first was at `joined_s`."""
        self.ran_s = time.perf_counter()
        self.joined_s = joined_s
        self.inference_s += elapsed_s
        self.batches.append(run)

    def wrote(self, tokens: int, joined_s: float, together: int, *, ended: bool) -> None:
        """Note characters that came, of a sequence that joined others at `joined_s`, `together`
        with which it was written.
        """
        now_s = time.perf_counter()
        self.together = max(self.together, together)
        joined_s = max(joined_s, self.queued_s)
        self.joined_s = min(self.joined_s or joined_s, joined_s)
        self.tokens += tokens
        if tokens and not self.first_s:
            self.first_s = now_s
        if ended:
            self.ran_s = now_s
            self.inference_s = now_s - self.joined_s

    def part(self) -> Trail:
        """One of the requests that come through a connection or a stream of calls."""
        self._parts += 1
        return Trail(
            f"{self.request_id}/{self._parts}",
            self.protocol,
            self.method,
            self.path,
            TraceParent(self.trace_id, self.span_id, sampled=True) if self.trace_id else None,
            self.trace_id,
            fresh_span_id() if self.trace_id else 0,
            self.logged,
            self.on_end,
            client=self.client,
            template=self.template,
        )

    def end(self) -> None:
        """The request is over: tell, once."""
        tell, self.on_end = self.on_end, None
        if tell is not None:
            self.ended_s = time.perf_counter()
            tell(self)


TRAIL: ContextVar[Trail | None] = ContextVar("trail", default=None)
"""Of the request that the running task answers."""


class following:  # noqa: N801  # reads as what it does: `with following(trail):`
    """Let the block's work leave its marks on `trail`, and end it with the block."""

    __slots__ = ("_token", "_trail")

    def __init__(self, trail: Trail | None) -> None:
        self._trail = trail

    def __enter__(self) -> Trail | None:
        self._token: Token[Trail | None] | None = None
        if self._trail is not None:
            self._token = TRAIL.set(self._trail)
        return self._trail

    def __exit__(self, *_: object) -> None:
        if self._trail is not None:
            assert self._token is not None
            self._trail.end()
            TRAIL.reset(self._token)


def next_part() -> Trail | None:
    """Of the running task's trail, if there is one."""
    trail = TRAIL.get()
    return None if trail is None else trail.part()
