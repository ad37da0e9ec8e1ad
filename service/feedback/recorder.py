"""Keeps a sample of requests and answers, beside the requests and never in their way.

A request costs a place in a bounded queue; a thread of its own makes rows of it and writes them.
When the queue is full, rows are dropped and counted; whatever goes wrong here, the request is
answered as if there were no feedback.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service import metrics
from service.contract import Manifest
from service.errors import SettingsError
from service.feedback.columns import chosen_columns
from service.metrics import RequestMeter
from service.settings import Settings

if TYPE_CHECKING:
    from service.feedback.shelf import Shelf

log = logging.getLogger("triptych.feedback")

QUEUE_BYTES = 32 * 2**20
ROW_BYTES = 1024  # what a row takes beside what it is of
ROLL_ROWS = 10_000
ROLL_BYTES = 32 * 2**20
ROLL_S = 300.0

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Observation:
    """A request and its answer; `rows` are made on the writer's thread, of the columns wanted."""

    key: Iterable[Any]
    """Bytes-like objects that are the request: equal ones are all kept or all left."""
    count: int
    """How many rows there will be."""
    size_bytes: int
    """What it holds until it is written."""
    rows: Callable[[frozenset[str]], list[Row]]


class Feedback:
    """Off: keeps nothing, costs nothing."""

    def offer(
        self,
        meter: RequestMeter,
        manifest: Manifest,
        observe: Callable[..., Observation | None],
        *arguments: Any,
    ) -> None:
        """Keep what `observe(*arguments)` tells of a request, if it is one of the sample."""

    def close(self) -> None:
        """Write what is left; blocks until it is on the disk."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """An observation, and what the request knew beside it."""

    observation: Observation
    size_bytes: int
    model: str
    common: dict[str, Any]


class Recorder(Feedback):
    """Keeps a share of what it is offered. `offer` is called from one event loop only."""

    def __init__(self, shelf: Shelf, *, share: float, wanted: frozenset[str], days: int) -> None:
        self._shelf, self._wanted, self._days = shelf, wanted, days
        self._below = round(share * 2**64)
        self._queue: queue.SimpleQueue[_Taken | None] = queue.SimpleQueue()
        self._room_bytes = QUEUE_BYTES
        self._lock = threading.Lock()
        self._rows: dict[tuple[str, date], list[Row]] = defaultdict(list)
        self._rows_bytes = 0
        self._due_s = 0.0
        self._thread = threading.Thread(target=self._work, name="feedback", daemon=True)
        self._thread.start()

    def offer(
        self,
        meter: RequestMeter,
        manifest: Manifest,
        observe: Callable[..., Observation | None],
        *arguments: Any,
    ) -> None:
        """As `Feedback.offer`; never raises, never waits."""
        try:
            observation = observe(*arguments)
            if observation is None or not self._is_sampled(observation.key):
                return
            size_bytes = observation.size_bytes + ROW_BYTES * observation.count
            with self._lock:
                has_room = size_bytes <= self._room_bytes
                if has_room:
                    self._room_bytes -= size_bytes
            if not has_room:
                metrics.FEEDBACK_DROPPED.labels(manifest.name).inc(observation.count)
                return
            common = {
                "time": time.time_ns() // 1_000_000,
                "model": manifest.name,
                "version": manifest.version,
                "route": meter.route,
                "latency_ms": meter.elapsed_s * 1000,
            }
            self._queue.put(_Taken(observation, size_bytes, manifest.name, common))
        except Exception:  # of all things, feedback must not fail a request
            log.exception("a request was not kept")

    def close(self) -> None:
        """As `Feedback.close`."""
        self._queue.put(None)
        self._thread.join()

    def _is_sampled(self, key: Iterable[Any]) -> bool:
        if self._below >= 2**64:
            return True
        digest = hashlib.blake2b(digest_size=8)
        for part in key:
            digest.update(part)
        return int.from_bytes(digest.digest(), "big") < self._below

    def _work(self) -> None:
        self._expire()
        while True:
            wait_s = max(0.0, self._due_s - time.monotonic()) if self._rows else None
            try:
                taken = self._queue.get(timeout=wait_s)
            except queue.Empty:
                self._roll()
                continue
            if taken is None:
                break
            self._take(taken)
            if sum(map(len, self._rows.values())) >= ROLL_ROWS or self._rows_bytes >= ROLL_BYTES:
                self._roll()
        self._roll()

    def _take(self, taken: _Taken) -> None:
        observation = taken.observation
        try:
            rows = observation.rows(self._wanted)
        except Exception:
            log.exception("a request was not kept")
            metrics.FEEDBACK_DROPPED.labels(taken.model).inc(observation.count)
            return
        finally:
            with self._lock:
                self._room_bytes += taken.size_bytes
        if not self._rows:
            self._due_s = time.monotonic() + ROLL_S
        day = datetime.fromtimestamp(taken.common["time"] / 1000, UTC).date()
        self._rows[taken.model, day] += [taken.common | dict(row) for row in rows]
        self._rows_bytes += taken.size_bytes

    def _roll(self) -> None:
        for (model, day), rows in self._rows.items():
            try:
                self._shelf.write(model, day, rows)
            except BaseException as error:  # a full disk; and arro3's panics are no Exceptions
                log.error("%d rows of %s were not written: %s", len(rows), model, error)
                metrics.FEEDBACK_DROPPED.labels(model).inc(len(rows))
            else:
                metrics.FEEDBACK_KEPT.labels(model).inc(len(rows))
        self._rows.clear()
        self._rows_bytes = 0
        self._expire()

    def _expire(self) -> None:
        try:
            self._shelf.expire(datetime.now(UTC).date(), self._days)
        except Exception as error:  # the next time may do
            log.error("old feedback was not removed: %s", error)


def check_feedback(settings: Settings) -> None:
    """Raise SettingsError if feedback is on and cannot be: fields, share, package, folder."""
    columns = chosen_columns(settings.feedback_fields)
    if settings.feedback_share > 1:
        raise SettingsError(
            f"TRIPTYCH_FEEDBACK_SHARE is {settings.feedback_share:g}; it is at most 1",
            field="TRIPTYCH_FEEDBACK_SHARE",
        )
    if not settings.feedback:
        return
    assert columns
    try:
        shelf = import_module("service.feedback.shelf")
    except ImportError as error:
        raise SettingsError(
            f"TRIPTYCH_FEEDBACK needs the feedback extra (pip install 'triptych[feedback]'): "
            f"{error}",
            field="TRIPTYCH_FEEDBACK",
        ) from error
    if "://" in settings.feedback:
        shelf.open_shelf(settings.feedback, columns)
        return
    folder = Path(settings.feedback)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise SettingsError(
            f"TRIPTYCH_FEEDBACK={settings.feedback!r} cannot be written: {error.strerror}",
            field="TRIPTYCH_FEEDBACK",
        ) from error


def open_feedback(settings: Settings) -> Feedback:
    """What the settings ask for; raises SettingsError as `check_feedback` does."""
    check_feedback(settings)
    if not settings.feedback:
        return Feedback()
    # Here, not above: its package is needed only where feedback is on.
    from service.feedback.shelf import open_shelf  # noqa: PLC0415

    columns = chosen_columns(settings.feedback_fields)
    return Recorder(
        open_shelf(settings.feedback, columns),
        share=settings.feedback_share,
        wanted=frozenset(column.name for column in columns),
        days=settings.feedback_days,
    )
