"""Prometheus metrics: bounded label values, and right across worker processes.

Made before anything else touches prometheus_client, so that PROMETHEUS_MULTIPROC_DIR (set by the
server that starts the workers) decides where samples are kept. Labels are model names, route
names and outcomes, all from closed sets: a client cannot make a new series.

What a request adds is tallied in memory and written within `FLUSH_S`; a scrape waits that long, so
that it misses nothing that was answered before it came, whichever worker answered.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Literal

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from service.errors import (
    DeadlineExceededError,
    NotReadyError,
    OverloadedError,
    RateLimitedError,
    TriptychError,
)
from service.tally import Count, Distribution, Level
from service.telemetry.trail import TRAIL

CONTENT_TYPE = CONTENT_TYPE_LATEST
Outcome = Literal["ok", "invalid", "overloaded", "not_ready", "deadline", "cancelled", "error"]
FLUSH_S = 0.2
_UNANSWERED: tuple[Outcome, ...] = ("error", "deadline", "not_ready", "overloaded")
"""What spends the error budget: an alert must see the first of them."""

_SECONDS = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
)  # fmt: skip
_ROWS = (1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 256)
_SHARED = "PROMETHEUS_MULTIPROC_DIR" in os.environ


def _distribution(
    name: str, documentation: str, labels: tuple[str, ...], bounds: tuple[float, ...]
) -> Distribution:
    return Distribution(name, documentation, labels, bounds=bounds, shared=_SHARED)


REQUESTS = Count(
    Counter(
        "triptych_requests", "Requests by model, route and outcome", ["model", "route", "outcome"]
    ),
    beside=lambda labels: [(*labels[:2], outcome) for outcome in _UNANSWERED],
)
REQUEST_SECONDS = _distribution(
    "triptych_request_seconds",
    "Time from a request's arrival to its answer's end",
    ("model", "route"),
    _SECONDS,
)
BATCH_ROWS = _distribution("triptych_batch_rows", "Rows in a run", ("model",), _ROWS)
QUEUE_SECONDS = _distribution(
    "triptych_queue_seconds", "Time a request waited for its first run", ("model",), _SECONDS
)
INFERENCE_SECONDS = _distribution(
    "triptych_inference_seconds", "Time of a run in onnxruntime", ("model",), _SECONDS
)
QUEUE_ROWS = Level(
    Gauge("triptych_queue_rows", "Rows waiting", ["model"], multiprocess_mode="livesum")
)
FIRST_TOKEN_SECONDS = _distribution(
    "triptych_first_token_seconds",
    "Time from a streamed text's request to its first characters",
    ("model",),
    _SECONDS,
)
QUEUE_LIMIT_ROWS = Gauge(
    "triptych_queue_limit_rows",
    "Rows that may wait; more are refused",
    ["model"],
    multiprocess_mode="livesum",
)
LANES = Gauge("triptych_lanes", "Runs that the workers can do at once", multiprocess_mode="livesum")
CACHE_HITS = Count(
    Counter("triptych_cache_hits", "Requests answered from the cache of answers", ["model"])
)
KEY_REQUESTS = Count(
    Counter(
        "triptych_key_requests",
        "Requests by the API key's id, empty where none is known, and what came of the key",
        ["key", "outcome"],
    )
)
MODEL_INFO = Gauge(
    "triptych_model_info",
    "1 for the version that is served",
    ["model", "version", "kind"],
    multiprocess_mode="livemax",
)
LOAD_FAILURES = Counter(
    "triptych_model_load_failures", "Versions that failed verification or loading", ["model"]
)
TRIAL = Gauge(
    "triptych_trial",
    "1 for a version that is on trial",
    ["model", "version", "mode"],
    multiprocess_mode="livemax",
)
TRIAL_REQUESTS = Counter(
    "triptych_trial_requests",
    "Requests during a trial, by who answered and how",
    ["model", "side", "outcome"],
)
TRIALS = Counter("triptych_trials", "Trials that ended, by verdict", ["model", "verdict"])
SWAPS = Counter("triptych_model_swaps", "Swaps to another version while serving", ["model"])
FEEDBACK_KEPT = Counter("triptych_feedback_rows_kept", "Rows of feedback written", ["model"])
FEEDBACK_DROPPED = Counter(
    "triptych_feedback_rows_dropped", "Rows of feedback lost: no room, or not written", ["model"]
)
SPANS_DROPPED = Counter(
    "triptych_trace_spans_dropped", "Spans of traces lost: no room, or not taken by the receiver"
)


class ModelMetrics:
    """The series of one model, bound once so that the hot path looks nothing up."""

    _waiting: dict[str, int] = {}  # noqa: RUF012  # shared: a model's versions and queues add up

    def __init__(self, model: str) -> None:
        self._labels = (model,)
        self.batch_rows = BATCH_ROWS.labels(model)
        self.queue_seconds = QUEUE_SECONDS.labels(model)
        self.inference_seconds = INFERENCE_SECONDS.labels(model)
        self.add_waiting(0)

    def add_waiting(self, rows: int) -> None:
        """Count rows that came into one of the model's queues, or, below 0, left it."""
        model = self._labels[0]
        self._waiting[model] = now = self._waiting.get(model, 0) + rows
        QUEUE_ROWS.set(self._labels, now)
        _due()

    def hit(self) -> None:
        """Count a request that was answered from the cache."""
        CACHE_HITS.add(self._labels)


def count_key(key_id: str, outcome: str) -> None:
    """Count a request that came with a key, or without the one it needs."""
    _due()
    KEY_REQUESTS.add((key_id, outcome))


def flush() -> None:
    """Write what was tallied to where scrapes read it."""
    for tally in (
        REQUESTS, REQUEST_SECONDS, BATCH_ROWS, QUEUE_SECONDS, INFERENCE_SECONDS, QUEUE_ROWS,
        FIRST_TOKEN_SECONDS, CACHE_HITS, KEY_REQUESTS,
    ):  # fmt: skip
        tally.flush()


_due_on: asyncio.AbstractEventLoop | None = None


def _due() -> None:
    """See to it that what was tallied just now is written within `FLUSH_S`."""
    global _due_on  # noqa: PLW0603
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # no loop: nobody to wait for
        flush()
        return
    if _due_on is not loop:
        _due_on = loop
        loop.call_later(FLUSH_S, _flush)


def _flush() -> None:
    global _due_on  # noqa: PLW0603
    _due_on = None
    flush()


def outcome_of(error: BaseException) -> Outcome:
    """Classify an error for the `outcome` label."""
    if isinstance(error, RateLimitedError):  # the key's limit, not the service's
        return "invalid"
    if isinstance(error, OverloadedError):
        return "overloaded"
    if isinstance(error, NotReadyError):
        return "not_ready"
    if isinstance(error, DeadlineExceededError):
        return "deadline"
    if isinstance(error, TriptychError) and error.status < 500:
        return "invalid"
    return "error" if isinstance(error, Exception) else "cancelled"


class RequestMeter:
    """Counts and times one request; `model` is set once the request has named a known one."""

    def __init__(self, route: str) -> None:
        self.route = route
        self.model = ""
        self.deferred = False
        """Set by a streaming answer, which closes the meter when its stream ends."""
        self._start_s = time.perf_counter()
        self._trail = trail = TRAIL.get()
        if trail is not None:
            trail.route = route

    @property
    def elapsed_s(self) -> float:
        """Time since the request arrived."""
        return time.perf_counter() - self._start_s

    def began_to_stream(self) -> None:
        """Record how long the first characters took."""
        FIRST_TOKEN_SECONDS.labels(self.model).observe(self.elapsed_s)

    def close(self, outcome: Outcome) -> None:
        """Record the outcome; the time is recorded for requests that were answered in full."""
        _due()
        if self._trail is not None:
            self._trail.outcome = outcome
        REQUESTS.add((self.model, self.route, outcome))
        if outcome == "ok":
            REQUEST_SECONDS.labels(self.model, self.route).observe(self.elapsed_s)

    def fail(self, error: BaseException) -> None:
        """Record the error's outcome."""
        self.close(outcome_of(error))


def forget_dead_workers() -> None:
    """Drop the live gauges of workers that are gone, so that they do not count for ever."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return
    for file in Path(folder).glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        if not Path(f"/proc/{pid}").exists():
            mark_process_dead(pid)  # type: ignore[no-untyped-call]


async def exposition() -> bytes:
    """Every series of every worker in Prometheus' text format."""
    await asyncio.sleep(1.2 * FLUSH_S)  # the other workers' turn to write
    flush()
    # Merging the workers' files takes milliseconds of pure Python: off the loop.
    return await asyncio.to_thread(_exposition)


def _exposition() -> bytes:
    if not _SHARED:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
