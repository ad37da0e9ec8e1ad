"""What waits for a run: requests in order of urgency, and how a batch is shared out among them."""

from __future__ import annotations

import asyncio
from bisect import insort_right
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.telemetry.trail import Trail

Arrays = dict[str, NDArray[Any]]

PRIORITIES = (1, 2, 3)
"""Urgent, usual, when there is room."""
USUAL = 2


@dataclass(slots=True, eq=False)
class Ticket:
    """A request: its rows, and how far it has come.

    Args:
        inputs: for each input of the graph its rows.
        rows: how many.
        wanted: names of outputs.
        future: done when all rows are, or when nobody waits for them any more.
        arrived_s: on the clock of `time.perf_counter`.
        priority: a lower number goes first.

    """

    inputs: Arrays
    rows: int
    wanted: tuple[str, ...]
    future: asyncio.Future[None]
    arrived_s: float
    priority: int
    shape: tuple[tuple[int, ...], ...] = ()
    """Of each input, without the rows: those who agree in it can share a batch."""
    taken: int = 0
    done: int = 0
    queue_s: float = 0.0
    inference_s: float = 0.0
    trail: Trail | None = None
    """Where its runs are noted."""
    parts: dict[int, Arrays] = field(default_factory=dict)
    """Outputs by the row that they begin with."""

    def __post_init__(self) -> None:
        self.shape = tuple([array.shape[1:] for array in self.inputs.values()])

    def joined(self) -> Arrays:
        """All outputs in row order, as one array each."""
        if len(self.parts) == 1:
            return self.parts[0]
        parts = [self.parts[start] for start in sorted(self.parts)]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.wanted}

    def fail(self, error: BaseException) -> None:
        """Tell the one who waits, if anyone does."""
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(slots=True)
class Share:
    """Rows [start, start + rows) of a ticket, in one batch."""

    ticket: Ticket
    start: int
    rows: int

    def input(self, name: str) -> NDArray[Any]:
        """The rows of one input."""
        return self.ticket.inputs[name][self.start : self.start + self.rows]


class Waiting:
    """Tickets with rows that no batch has taken; the most urgent first, then as they came."""

    def __init__(self) -> None:
        self._tickets: list[Ticket] = []
        self.rows = 0

    def add(self, ticket: Ticket) -> None:
        """Let a ticket wait."""
        if self._tickets and self._tickets[-1].priority > ticket.priority:
            insort_right(self._tickets, ticket, key=lambda waiting: waiting.priority)
        else:
            self._tickets.append(ticket)
        self.rows += ticket.rows

    def remove(self, ticket: Ticket) -> int:
        """Take out what still waits of a ticket; return how many rows that were."""
        left = ticket.rows - ticket.taken
        if left:
            self._tickets.remove(ticket)
            self.rows -= left
        return left

    def take(self, room: int) -> list[Share]:
        """Fill a batch from requests of one shape: the most urgent first, the others with them."""
        shares: list[Share] = []
        waiting = [ticket for ticket in self._tickets if not ticket.future.done()]
        if not waiting:
            return shares
        shape = waiting[0].shape
        while room and waiting:
            level = waiting[0].priority
            equals = [t for t in waiting if t.priority == level and t.shape == shape][:room]
            room -= _share_out(equals, room, shares)
            waiting = [ticket for ticket in waiting if ticket.priority > level]
        self._tickets = [ticket for ticket in self._tickets if ticket.taken < ticket.rows]
        self.rows -= sum(share.rows for share in shares)
        return shares


def _share_out(tickets: list[Ticket], room: int, shares: list[Share]) -> int:
    """Give each its fair share of `room`, and what is over to those who came first."""
    if not tickets:
        return 0
    fair = max(1, room // len(tickets))
    grants = [min(fair, ticket.rows - ticket.taken) for ticket in tickets]
    spare = room - sum(grants)
    for ticket, grant in zip(tickets, grants, strict=True):
        more = min(spare, ticket.rows - ticket.taken - grant)
        spare -= more
        shares.append(Share(ticket, ticket.taken, grant + more))
        ticket.taken += grant + more
    return room - spare


class Aside:
    """Rows that are decoded before their run, or encoded after it."""

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows = 0

    def taking(self, rows: int) -> AbstractContextManager[None]:
        """`with aside.taking(rows):` while they are worked on."""
        return _Taking(self, rows)


class _Taking:
    __slots__ = ("_aside", "_rows")

    def __init__(self, aside: Aside, rows: int) -> None:
        self._aside = aside
        self._rows = rows

    def __enter__(self) -> None:
        self._aside.rows += self._rows

    def __exit__(self, *_: object) -> None:
        self._aside.rows -= self._rows
