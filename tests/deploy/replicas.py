"""Replicas on loopback as `make serve` starts them, and clients that keep them all at work."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.deploy.conftest import ROOT
from tests.e2e.load import Probe
from tests.e2e.server import command, environment
from tests.ports import free_port

READY_TIMEOUT_S = 60.0
PAUSE_S = 0.4  # of each client between two requests: replicas must have room to start
DRAIN_DELAY_S = 2  # a few of HAProxy's checks


class Replica:
    """One service on a port that it keeps over restarts."""

    def __init__(self, store: Path, folder: Path) -> None:
        self.port = free_port()
        self._environment = environment(folder, store=store, threads=1, drain_delay_s=DRAIN_DELAY_S)
        self._log = folder / "log"
        folder.mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command(self.port),
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def await_ready(self) -> None:
        end_s = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < end_s:
            assert self._process is not None
            assert self._process.poll() is None, self.log
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass  # it is starting
            time.sleep(0.1)
        raise AssertionError(f"a replica was not ready in {READY_TIMEOUT_S} s: {self.log}")

    def stop(self) -> None:
        """SIGTERM; returns when it has ended, which it must with exit code 0."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(timeout=60) == 0, self.log

    def processes(self) -> list[psutil.Process]:
        """It and its workers, those first."""
        assert self._process is not None
        root = psutil.Process(self._process.pid)
        return [*root.children(recursive=True), root]

    def kill(self, processes: Sequence[psutil.Process]) -> None:
        """SIGKILL to all of these `processes`, as when a container is killed."""
        assert self._process is not None
        for process in processes:
            process.kill()
        self._process.wait(timeout=10)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill(self.processes())


@contextmanager
def replicas(number: int, store: Path, folder: Path) -> Iterator[list[Replica]]:
    """That many, ready."""
    found = [Replica(store, folder / f"replica-{index}") for index in range(1, number + 1)]
    try:
        for replica in found:
            replica.start()
        for replica in found:
            replica.await_ready()
        yield found
    finally:
        for replica in found:
            replica.close()


@dataclass(frozen=True)
class Failure:
    """A request without a whole answer of status 200; times as `time.monotonic` tells them."""

    probe: str
    began_s: float
    ended_s: float
    what: str


@dataclass
class Traffic:
    """Clients of one address, each with a connection that it keeps and one request at a time."""

    url: str
    probes: Sequence[Probe]
    clients: int
    answered: int = 0
    contents: dict[str, list[Any]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    stopping: bool = False

    async def _client(self, turn: int) -> None:
        async with httpx.AsyncClient(base_url=self.url, timeout=60) as client:
            while not self.stopping:
                probe = self.probes[turn % len(self.probes)]
                turn += 1
                await asyncio.sleep(PAUSE_S)
                began_s = time.monotonic()
                try:
                    answer = await client.post(probe.path, **probe.options)
                    assert answer.status_code == 200, f"{answer.status_code} {answer.text}"
                    _, content = probe.read(answer)
                except Exception as error:
                    ended_s = time.monotonic()
                    self.failures.append(Failure(probe.name, began_s, ended_s, repr(error)))
                    continue
                known = self.contents.setdefault(probe.name, [])
                if content not in known:
                    known.append(content)
                self.answered += 1

    async def run(self) -> None:
        """Until `stopping`."""
        await asyncio.gather(*(self._client(turn) for turn in range(self.clients)))

    async def until_answered(self, more: int) -> None:
        goal = self.answered + more
        async with asyncio.timeout(60):
            while self.answered < goal:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
