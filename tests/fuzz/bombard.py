"""Many requests at once, and a well-behaved neighbour among them whose answers must not change."""

from __future__ import annotations

import gc
import http.client
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psutil

from tests.e2e.server import Server

CLIENTS = 6
GROWTH_MIB = 24
"""More than glibc's arenas wobble, less than a leak of 2 KiB a request leaves in 10,000."""


class Sent(NamedTuple):
    """A request."""

    path: str
    body: bytes
    headers: Mapping[str, str] = {}


class Heard(NamedTuple):
    """Its answer."""

    status: int
    body: bytes
    media: str


@dataclass
class Outcome:
    """What came of a bombardment."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[tuple[int, Any]] = field(default_factory=list)
    """Seeds of cases whose answers were not as they should be, and the answers."""
    neighbour: Counter[bytes] = field(default_factory=Counter)
    """The neighbour's answers."""


class Connection:
    """Keep-alive as long as the server keeps it; a request on a dead one is sent once more."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._http = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)

    def ask(self, sent: Sent) -> Heard:
        for attempt in (1, 2):
            try:
                self._http.request("POST", sent.path, sent.body, dict(sent.headers))
                answer = self._http.getresponse()
                return Heard(answer.status, answer.read(), answer.headers.get_content_type())
            except (http.client.HTTPException, OSError):
                self._http.close()
                if attempt == 2:
                    raise
        raise AssertionError

    def close(self) -> None:
        self._http.close()


def bombard(
    server: Server,
    make: Callable[[int], Sent],
    fine: Callable[[Heard], bool],
    count: int,
    neighbour: Sent,
) -> Outcome:
    """Send `make(seed)` for `count` seeds, and the neighbour's request as long as that lasts."""
    outcome, lock, over = Outcome(), threading.Lock(), threading.Event()

    def attack(first: int) -> None:
        connection = Connection(server.url)
        for seed in range(first, count, CLIENTS):
            heard = connection.ask(make(seed))
            with lock:
                outcome.statuses[heard.status] += 1
                if not fine(heard):
                    outcome.wrong.append((seed, heard))
        connection.close()

    def live_beside() -> None:
        connection = Connection(server.url)
        while not over.is_set():
            heard = connection.ask(neighbour)
            outcome.neighbour[heard.body if heard.status == 200 else str(heard).encode()] += 1
        connection.close()

    with ThreadPoolExecutor(CLIENTS + 1) as threads:
        beside = threads.submit(live_beside)
        try:
            for attacker in [threads.submit(attack, first) for first in range(CLIENTS)]:
                attacker.result()
        finally:
            over.set()
        beside.result()
    return outcome


def workers(server: Server) -> dict[int, int]:
    """Resident bytes of each process of the server, by process id."""
    gc.collect()
    root = psutil.Process(server.process.pid)
    return {one.pid: one.memory_info().rss for one in (root, *root.children(recursive=True))}
