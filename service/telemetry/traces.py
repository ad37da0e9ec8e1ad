"""Requests as OpenTelemetry traces, sent over OTLP (HTTP, protobuf). Imports the SDK alone.

Spans are made when a request has ended, of the marks on its trail, so that nothing of this runs
while it is answered; a thread of the SDK's sends them in batches. Names of attributes follow
OpenTelemetry's semantic conventions where they have one (HTTP, RPC); others begin with `triptych.`.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import AttributeValue

from service import metrics
from service.chance import fresh_span_id
from service.telemetry.trail import Trail

log = logging.getLogger("triptych.traces")
MOST_WAITING = 4096  # spans; more are dropped and counted
_BATCH = 512
_EVERY_MS = 1000.0
_TIMEOUT_S = 3.0  # of a batch, its repetitions included

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SCOPE = InstrumentationScope("triptych")


class Tracer:
    """Makes a request's spans and hands them on; never waits.

    Args:
        endpoint: of the receiver, without the path `/v1/traces`.

    """

    def __init__(self, endpoint: str) -> None:
        self._resource = Resource.create(
            {} if "OTEL_SERVICE_NAME" in os.environ else {"service.name": "triptych"}
        ).merge(Resource({"process.pid": os.getpid()}))
        exporter = OTLPSpanExporter(endpoint.rstrip("/") + "/v1/traces", timeout=_TIMEOUT_S)
        self._sending = _Sending(exporter, endpoint)
        self._processor = BatchSpanProcessor(
            self._sending,
            max_queue_size=MOST_WAITING + _BATCH,  # never full: `_Sending` bounds it
            max_export_batch_size=_BATCH,
            schedule_delay_millis=_EVERY_MS,
        )
        self._process = f"{os.getpid()}"

    def tell(self, trail: Trail) -> None:
        """Queue the spans of a request that has ended, or drop them if too many wait."""
        spans = self._spans(trail)
        if self._sending.let_in(len(spans)):
            for span in spans:
                self._processor.on_end(span)

    def close(self) -> None:
        """Send what waits; gives up with the first batch that is not taken."""
        self._sending.closing = True
        self._processor.shutdown()  # type: ignore[no-untyped-call]

    def _spans(self, trail: Trail) -> list[ReadableSpan]:
        def at_ns(point_s: float) -> int:
            return trail.started_ns + round((point_s - trail.started_s) * 1e9)

        context = _context(trail.trace_id, trail.span_id)
        parent = None
        if trail.parent is not None:
            parent = SpanContext(
                trail.trace_id, trail.parent.span_id, is_remote=True, trace_flags=_SAMPLED
            )
        events = []
        if trail.streamed and trail.first_s:
            events.append(Event("first token", timestamp=at_ns(trail.first_s)))
            if trail.ran_s:
                events.append(Event("last token", timestamp=at_ns(trail.ran_s)))
        request = ReadableSpan(
            _name(trail),
            context,
            parent,
            self._resource,
            _attributes(trail),
            events,
            kind=SpanKind.SERVER,
            instrumentation_scope=_SCOPE,
            status=Status(StatusCode.ERROR if trail.failed else StatusCode.UNSET),
            start_time=trail.started_ns,
            end_time=at_ns(trail.ended_s),
        )
        parts = [
            ReadableSpan(
                name,
                _context(trail.trace_id, fresh_span_id()),
                context,
                self._resource,
                self._inference(trail) if name == "inference" else {},
                instrumentation_scope=_SCOPE,
                start_time=at_ns(start_s),
                end_time=at_ns(end_s),
            )
            for name, start_s, end_s in phases(trail)
        ]
        return [*parts, request]  # as they end: whoever has a request's span has its parts

    def _inference(self, trail: Trail) -> dict[str, AttributeValue]:
        found: dict[str, AttributeValue] = {
            "triptych.model": trail.model,
            "triptych.version": trail.version,
            "triptych.rows": trail.rows,
        }
        if trail.batches:
            # Requests that shared a run have its id in common, whatever their traces.
            found["triptych.batch.ids"] = [f"{self._process}-{one}" for one, _ in trail.batches]
            found["triptych.batch.rows"] = [rows for _, rows in trail.batches]
            found["triptych.onnxruntime_ms"] = round(trail.inference_s * 1000, 3)
        if trail.tokens:
            found["triptych.tokens"] = trail.tokens
            found["triptych.sequences"] = trail.together
        return found


def phases(trail: Trail) -> list[tuple[str, float, float]]:
    """Name, start and end of each phase that the request reached; one begins where one ends.

    decode: from the whole body to the queue. queue: to the first run. inference: to the last row or
    character. encode: to the answer's last byte.
    """
    if not trail.queued_s:
        return []
    found = [("decode", max(trail.read_s, trail.started_s), trail.queued_s)]
    if trail.joined_s:
        found.append(("queue", trail.queued_s, trail.joined_s))
    if trail.ran_s:
        found.append(("inference", trail.joined_s, trail.ran_s))
        found.append(("encode", trail.ran_s, trail.ended_s))
    return found


def _context(trace_id: int, span_id: int) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=_SAMPLED)


def _name(trail: Trail) -> str:
    if trail.protocol == "grpc":
        return f"inference.GRPCInferenceService/{trail.method}"
    return f"{trail.method} {trail.template}".rstrip()


def _attributes(trail: Trail) -> dict[str, AttributeValue]:
    found: dict[str, AttributeValue] = {
        "triptych.request_id": trail.request_id,
        "triptych.route": trail.route,
        "triptych.outcome": trail.outcome,
    }
    if trail.protocol == "grpc":
        found["rpc.system"] = "grpc"
        found["rpc.service"] = "inference.GRPCInferenceService"
        found["rpc.method"] = trail.method
        found["rpc.grpc.status_code"] = trail.status
    else:
        found["http.request.method"] = trail.method
        found["url.path"] = trail.path
        if trail.template:
            found["http.route"] = trail.template
        if trail.status:
            found["http.response.status_code"] = trail.status
        found["http.request.body.size"] = trail.bytes_in
        found["http.response.body.size"] = trail.bytes_out
    if trail.failed:
        found["error.type"] = trail.outcome or str(trail.status)
    if trail.model:
        found["triptych.model"], found["triptych.version"] = trail.model, trail.version
    if trail.client:
        found["triptych.client"] = trail.client
    return found


class _Sending(SpanExporter):
    """The exporter, with what it loses counted, and told once until it works again."""

    def __init__(self, exporter: SpanExporter, endpoint: str) -> None:
        self._exporter = exporter
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._waiting = 0
        self._losing = False
        self.closing = False
        """Whether nobody has time for a receiver that is away."""

    def let_in(self, spans: int) -> bool:
        """Whether so many more may wait; those that may not are counted as lost."""
        with self._lock:
            if self._waiting + spans > MOST_WAITING:
                self._lose(spans, "too many wait to be sent")
                return False
            self._waiting += spans
            return True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Called on the processor's thread."""
        with self._lock:
            self._waiting -= len(spans)
            if self.closing and self._losing:
                self._lose(len(spans), "")
                return SpanExportResult.FAILURE
        result = self._exporter.export(spans)
        with self._lock:
            if result is SpanExportResult.SUCCESS:
                if self._losing:
                    log.info("%s takes spans again", self._endpoint)
                self._losing = False
            else:
                self._lose(len(spans), "they could not be sent")
        return result

    def _lose(self, spans: int, why: str) -> None:
        metrics.SPANS_DROPPED.inc(spans)
        if not self._losing:
            self._losing = True
            log.warning("spans for %s are dropped: %s", self._endpoint, why)

    def shutdown(self) -> None:
        """Give up what is being sent."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing is kept here."""
        return self._exporter.force_flush(timeout_millis)
