"""An OTLP receiver (HTTP, protobuf) that keeps the spans it is sent."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Span:
    """One span, its ids as hexadecimal digits and its times in nanoseconds."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    start_ns: int
    end_ns: int
    failed: bool
    attributes: dict[str, Any]
    events: dict[str, int]
    resource: dict[str, Any]

    @property
    def request_id(self) -> str | None:
        return self.attributes.get("triptych.request_id")


def _plain(attributes: Any) -> dict[str, Any]:
    def value(any_value: Any) -> Any:
        which = any_value.WhichOneof("value")
        found = getattr(any_value, which)
        return [value(one) for one in found.values] if which == "array_value" else found

    return {one.key: value(one.value) for one in attributes}


@dataclass
class Collector:
    """What has come so far."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    answers: int = 200
    """The status that the next ones get."""

    def take(self, body: bytes) -> None:
        for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _plain(resource_spans.resource.attributes)
            for scope_spans in resource_spans.scope_spans:
                assert scope_spans.scope.name == "triptych"
                for span in scope_spans.spans:
                    self.spans.append(
                        Span(
                            span.name,
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            span.kind,
                            span.start_time_unix_nano,
                            span.end_time_unix_nano,
                            span.status.code == span.status.STATUS_CODE_ERROR,
                            _plain(span.attributes),
                            {event.name: event.time_unix_nano for event in span.events},
                            resource,
                        )
                    )

    def wait_for(self, wanted: Callable[[Span], bool], count: int = 1) -> list[Span]:
        """The first spans that are wanted; they come about a second after their request."""
        end_s = time.monotonic() + 20
        while time.monotonic() < end_s:
            found = [span for span in list(self.spans) if wanted(span)]
            if len(found) >= count:
                return found
            time.sleep(0.05)
        raise AssertionError(f"no such spans among {[span.name for span in self.spans]}")

    def tree(self, request_id: str) -> tuple[Span, dict[str, Span]]:
        """The span of a request, and its children by name."""
        (root,) = self.wait_for(lambda span: span.request_id == request_id)
        children = [span for span in list(self.spans) if span.parent_id == root.span_id]
        return root, {span.name: span for span in children}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A receiver on a free port."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces", self.path
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            if collector.answers == 200:
                collector.take(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(collector.answers)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        collector.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield collector
        server.shutdown()
        thread.join()
