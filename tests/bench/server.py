"""The service under test: started like a user starts it, pinned, and measured from outside."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

START_TIMEOUT_S = 60.0


class Server:
    """A running service."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, ready_s: float) -> None:
        self.port = port
        self.ready_s = ready_s
        self._root = psutil.Process(process.pid)

    def _tree(self) -> list[psutil.Process]:
        return [self._root, *self._root.children(recursive=True)]

    def cpu_s(self) -> float:
        """CPU-seconds of the whole process tree so far."""
        total = 0.0
        for process in self._tree():
            times = process.cpu_times()
            total += times.user + times.system
        return total

    def worker_pss_mib(self) -> float:
        """Proportional set size of the largest process: a worker."""
        return max(float(process.memory_full_info().pss) for process in self._tree()) / 2**20


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(store: Path, *, cores: set[int], workers: int = 1) -> Iterator[Server]:
    """Start the service on the given cores, yield it when it is ready, stop it."""
    port = free_port()
    with tempfile.TemporaryDirectory() as home:
        start_s = time.perf_counter()
        process = subprocess.Popen(
            [
                *(str(Path(sys.executable).with_name("bentoml")), "serve", "service.app:Triptych"),
                *("--host", "127.0.0.1", "--port", str(port), "--timeout-keep-alive", "75"),
            ],
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("TRIPTYCH_")},
                "TRIPTYCH_STORE": str(store.absolute()),
                "TRIPTYCH_WORKERS": str(workers),
                "BENTOML_HOME": home,
                "BENTOML_DO_NOT_TRACK": "True",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),  # noqa: PLW1509  # no threads yet
        )
        try:
            _wait_until_ready(port, process)
            yield Server(process, port, time.perf_counter() - start_s)
        finally:
            process.terminate()
            process.wait(30)


def _wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    limit_s = time.perf_counter() + START_TIMEOUT_S
    while time.perf_counter() < limit_s:
        if process.poll() is not None:
            raise RuntimeError(f"the service ended with status {process.returncode}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.02)
    raise RuntimeError(f"the service was not ready within {START_TIMEOUT_S:.0f} s")
