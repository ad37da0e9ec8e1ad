"""The service as an operator starts it: a process with two workers, on a port of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.conftest import ROOT
from tests.ports import free_port

START_TIMEOUT_S = 60.0
WORKERS = 2


@dataclass(frozen=True)
class Server:
    """A running service."""

    url: str
    home: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.home / "log").read_text(encoding="utf-8", errors="replace")

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30)

    def post(self, path: str, **options: object) -> httpx.Response:
        """On a connection of its own, so that either worker may answer."""
        return httpx.post(self.url + path, timeout=60, **options)  # type: ignore[arg-type]

    def wait_for(self, path: str, status: int) -> httpx.Response:
        """Poll, as a probe does, until `path` answers with `status`.

        A worker that is ready may answer while another still loads: each poll is a connection of
        its own, and one good answer is not enough.
        """
        end_s = time.monotonic() + START_TIMEOUT_S
        in_a_row, needed = 0, 10 if "ready" in path and status == 200 else 1
        while time.monotonic() < end_s:
            if self.process.poll() is not None:
                raise AssertionError(f"the service stopped: {self.log}")
            try:
                answer = self.get(path)
            except httpx.TransportError:
                in_a_row = 0
            else:
                in_a_row = in_a_row + 1 if answer.status_code == status else 0
                if in_a_row == needed:
                    return answer
            time.sleep(0.1)
        raise AssertionError(f"{path} never answered {status}: {self.log}")

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


def environment(home: Path, **settings: object) -> dict[str, str]:
    """This environment, with no settings but these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRIPTYCH_")}
    ours = {f"TRIPTYCH_{name.upper()}": str(value) for name, value in settings.items()}
    # Nobody waits for a balancer to turn away here, unless a test is about that.
    ours = {"TRIPTYCH_DRAIN_DELAY_S": "0"} | ours
    return kept | ours | {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}


def command(port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "bentoml", "serve", "service.app:Triptych"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--timeout-keep-alive", "75", "--timeout-graceful-shutdown", "30"),
    ]


@contextmanager
def serving(store: Path, home: Path, **settings: object) -> Iterator[Server]:
    """Start on a free port; stop it, and look for crashes in its log, at the end."""
    home.mkdir(exist_ok=True)
    port = free_port()
    options = {"store": store, "workers": WORKERS, "threads": 1} | settings
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            command(port),
            cwd=ROOT,
            env=environment(home, **options),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    server = Server(f"http://127.0.0.1:{port}", home, process)
    with process:
        try:
            server.wait_for("/livez", 200)
            yield server
        finally:
            if process.poll() is None:
                server.stop()
    assert "Traceback" not in server.log, server.log


def failed_start(home: Path, **settings: object) -> tuple[int, str]:
    """Start what must not start; its exit status and all it wrote."""
    done = subprocess.run(
        command(free_port()),
        cwd=ROOT,
        env=environment(home, **settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr
