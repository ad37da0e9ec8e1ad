"""Which requests are logged and traced, and what happens when one of them has ended.

Both samples are taken by a hash of an id, so that every replica, and every retry with the same id,
decides alike.
"""

from __future__ import annotations

import hashlib
from importlib import import_module
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from service.chance import fresh_id, fresh_span_id
from service.errors import SettingsError
from service.settings import Settings
from service.telemetry.identity import Headers, TraceParent, identify
from service.telemetry.request_log import write_line
from service.telemetry.trail import Protocol, Trail

if TYPE_CHECKING:
    from service.telemetry.traces import Tracer

PROBES = frozenset({
    "/livez", "/readyz", "/healthz", "/metrics", "/v2/health/live", "/v2/health/ready",
    "ServerLive", "ServerReady",
})  # fmt: skip
"""Paths and calls that come by the clock, and are neither logged nor traced."""


class Observer:
    """Begins a request's trail, and writes down what became of it.

    Args:
        log_share: of requests that are logged, 0 to 1; above 0, all that failed are.
        trace_share: of requests that are traced where the caller does not say.
        tracer: where spans go; None: nowhere.

    """

    def __init__(self, log_share: float, trace_share: float, tracer: Tracer | None) -> None:
        self._log_share = log_share
        self._trace_share = trace_share
        self._tracer = tracer

    def begin(self, protocol: Protocol, method: str, path: str, headers: Headers) -> Trail | None:
        """The trail of a request that has come; None for a probe."""
        if path in PROBES:
            return None
        request_id, parent = identify(headers)
        trail = Trail(request_id, protocol, method, path, parent)
        trail.logged = _falls(request_id, self._log_share)
        trail.trace_id = self._trace_id(request_id, parent)
        if trail.trace_id:
            trail.span_id = fresh_span_id()
        trail.on_end = self._end
        return trail

    def _trace_id(self, request_id: str, parent: TraceParent | None) -> int:
        if self._tracer is None:
            return 0
        if parent is not None:
            return parent.trace_id if parent.sampled else 0
        if not _falls(request_id, self._trace_share):
            return 0
        is_trace = len(request_id) == 32 and not request_id.strip("0123456789abcdef")
        return int(request_id if is_trace else fresh_id(), 16) or 1

    def _end(self, trail: Trail) -> None:
        if self._log_share and (trail.logged or trail.failed):
            write_line(trail)
        if self._tracer is not None and trail.trace_id:
            self._tracer.tell(trail)

    def close(self) -> None:
        """Send what spans are left; blocks, for some seconds at most."""
        if self._tracer is not None:
            self._tracer.close()


def _falls(request_id: str, share: float) -> bool:
    """Whether an id falls into a share of all: the same in every process, and in larger shares."""
    if share >= 1 or share <= 0:
        return share >= 1
    digest = hashlib.blake2b(request_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def open_observer(settings: Settings) -> Observer | None:
    """As the settings say; None if nothing is to be told of requests."""
    if not settings.log_requests and not settings.traces:
        return None
    tracer = None
    if settings.traces:
        # Here, not above: its packages are needed only where it is on.
        from service.telemetry.traces import Tracer  # noqa: PLC0415

        tracer = Tracer(settings.traces)
    return Observer(settings.log_requests, settings.trace_share, tracer)


def check_telemetry(settings: Settings) -> None:
    """Raise SettingsError unless requests can be traced as the settings say."""
    if not settings.traces:
        return
    parts = urlsplit(settings.traces)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise SettingsError(
            f"TRIPTYCH_TRACES={settings.traces!r} must be the URL of an OTLP receiver, such as "
            "http://collector:4318",
            field="TRIPTYCH_TRACES",
        )
    try:
        import_module("service.telemetry.traces")
    except ImportError as error:
        raise SettingsError(
            f"TRIPTYCH_TRACES needs the trace extra (pip install 'triptych[trace]'): {error}",
            field="TRIPTYCH_TRACES",
        ) from error
