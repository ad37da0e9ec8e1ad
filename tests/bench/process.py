"""A server under test: a tree of processes, started like a user starts it, seen from outside."""

from __future__ import annotations

import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0


class StartError(RuntimeError):
    """The server did not come up; the message has the end of what it wrote."""


class Server:
    """A running server and its descendants."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, ready_s: float) -> None:
        self.port = port
        self.ready_s = ready_s
        self._root = psutil.Process(process.pid)

    def tree(self) -> list[psutil.Process]:
        """The server's process and all that it started."""
        return [self._root, *self._root.children(recursive=True)]

    def cpu_s(self) -> float:
        """CPU-seconds of the whole tree so far, with those of children that have ended."""
        total = 0.0
        for process in self.tree():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system + times.children_user + times.children_system
        return total

    def pss_mib(self) -> list[float]:
        """Proportional set size of each process of the tree, largest first."""
        sizes = [float(process.memory_full_info().pss) / 2**20 for process in self.tree()]
        return sorted(sizes, reverse=True)


@contextmanager
def running(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    port: int,
    ready_path: str,
    cores: set[int],
    log: Path,
) -> Iterator[Server]:
    """Start `command` on the given cores, yield it when `ready_path` answers 200, end its tree.

    Raises:
        StartError: it ended, or was not ready in time; the end of its output is in the message.

    """
    start_s = time.perf_counter()
    with log.open("wb") as output:
        process = _start(command, env, cores, output)
        try:
            _wait_until_ready(process, port, ready_path, log)
            yield Server(process, port, time.perf_counter() - start_s)
        finally:
            _stop(process)


def _start(
    command: Sequence[str], env: Mapping[str, str], cores: set[int], output: IO[bytes]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        list(command),
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # an interrupt from the terminal is ours to handle
        preexec_fn=lambda: os.sched_setaffinity(0, cores),  # noqa: PLW1509  # no threads yet
    )


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, path: str, log: Path) -> None:
    limit_s = time.perf_counter() + START_TIMEOUT_S
    while time.perf_counter() < limit_s:
        if process.poll() is not None:
            raise StartError(f"it ended with status {process.returncode}: {_tail(log)}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.02)
    raise StartError(f"it was not ready within {START_TIMEOUT_S:.0f} s: {_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-1500:].strip()


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, then kill what is left of its tree, in whatever session it is."""
    tree: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        tree = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT_S)
    process.kill()
    for child in tree:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait()
    psutil.wait_procs(tree, timeout=STOP_TIMEOUT_S)
