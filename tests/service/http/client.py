"""The service's own routes in this process: no server, no BentoML, and a client that can leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from prometheus_client import REGISTRY
from starlette.responses import PlainTextResponse
from starlette.types import Message

from service import metrics
from service.http import surface
from service.http.front import Front
from service.runtime import Runtime
from service.settings import Settings


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[tuple[Runtime, Front]]:
    """A worker's parts, ready, with our routes in front of an application that says `behind`."""
    runtime = Runtime(settings)
    await runtime.start()
    try:
        async with asyncio.timeout(30):
            while not runtime.registry.ready:  # noqa: ASYNC110  # readiness is polled, as probes do
                await asyncio.sleep(0.01)
        yield runtime, Front(surface.routes(runtime), PlainTextResponse("behind"), {}, settings)
    finally:
        await runtime.close()


def http(front: Front) -> httpx.AsyncClient:
    """A client whose unplanned errors come through."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(front),  # type: ignore[arg-type]
        base_url="http://test",
    )


@dataclass
class Visitor:
    """A request by hand: the body is sent at once, and the client leaves when told to."""

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    sent: list[Message] = field(default_factory=list)
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    _told: bool = False

    async def visit(self, front: Front) -> None:
        raw = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        scope = {
            "type": "http", "method": "POST", "path": self.path, "raw_path": self.path.encode(),
            "query_string": b"", "headers": raw, "http_version": "1.1", "scheme": "http",
            "client": ("test", 1), "server": ("test", 80), "root_path": "",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
        }  # fmt: skip
        await front(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if not self._told:
            self._told = True
            return {"type": "http.request", "body": self.body, "more_body": False}
        await self.leaving.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await asyncio.sleep(0)
        self.sent.append(message)

    @property
    def status(self) -> int | None:
        return next((one["status"] for one in self.sent if "status" in one), None)


def completion(**fields: Any) -> bytes:
    return json.dumps({"prompt": "a", "max_tokens": 5} | fields).encode()


def requests_counted(route: str, outcome: str) -> float:
    """How many requests of a route had an outcome, whatever the model."""
    metrics.flush()
    return sum(
        sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "triptych_requests_total"
        and (sample.labels["route"], sample.labels["outcome"]) == (route, outcome)
    )
