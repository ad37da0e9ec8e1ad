"""A service on which everything happens that the alerts and the dashboard tell of.

Requests of every kind and outcome, a full queue, a swap, a canary that passes, a version that is
refused: by real clients, on a copy of a store.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from service.contract import (
    CURRENT_FILE,
    GRAPH_FILE,
    MANIFEST_FILE,
    decode_manifest,
    encode_manifest,
)
from service.store import Store
from service.store.publisher import Publisher
from tests.pictures import picture
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
MODEL = "cifar10"
QUEUE_ROWS = 32
CANARY_S = 4.0


@dataclass
class Scene:
    """What goes on, and what can be made to."""

    port: int
    store: Store
    statuses: dict[int, int] = field(default_factory=dict)
    """Answers so far, by status."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> int:
        """Post, or get where there is no body; the status."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, body, named)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                answer.read()
                status = answer.status
        except urllib.error.HTTPError as error:
            status = error.code
            error.close()
        self.statuses[status] = self.statuses.get(status, 0) + 1
        return status

    @contextmanager
    def traffic(self, clients: int = 2, pause_s: float = 0.0) -> Iterator[None]:
        """Clients that ask for everything in turn, until the block ends."""
        stop = threading.Event()

        def client(first: int) -> None:
            for turn in itertools.count(first):
                if stop.is_set():
                    return
                self._one(turn)
                stop.wait(pause_s)

        with _threads(clients, client):
            try:
                yield
            finally:
                stop.set()

    def _one(self, turn: int) -> None:
        text: dict[str, object] = {"prompt": "The ", "max_tokens": 30, "seed": turn}
        asks: list[Callable[[], int]] = [
            lambda: self.ask("/v1/classify", picture(turn)),
            lambda: self.ask("/v1/classify", picture(turn % 4)),  # which may be in the cache
            lambda: self.ask("/v1/completions", json.dumps(text | {"stream": True}).encode()),
            lambda: self.ask("/v1/sample", json.dumps({"n": 2, "seed": turn}).encode()),
            lambda: self.ask("/v1/completions", json.dumps(text).encode()),
            lambda: self.ask("/v1/classify", picture(turn + 10**6)),
            lambda: self.ask("/v1/sample", b'{"n": 0}'),
            lambda: self.ask("/v1/models"),
        ]
        asks[turn % len(asks)]()

    def crowd(self, clients: int = 12, rounds: int = 3) -> None:
        """More at once than may wait: most are refused."""

        def client(_: int) -> None:
            for _turn in range(rounds):
                # Without a seed: what is answered from the cache is never refused.
                self.ask("/v1/sample", json.dumps({"n": QUEUE_ROWS}).encode())

        with _threads(clients, client):
            pass

    def twin(self, suffix: str) -> str:
        """Place a copy of the served version under another name."""
        version = self.store.current(MODEL)
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "twin"
            shutil.copytree(self.store.folder(MODEL, version), folder)
            manifest = decode_manifest((folder / MANIFEST_FILE).read_bytes())
            other = msgspec.structs.replace(manifest, version=f"{version[:40]}-{suffix}")
            (folder / MANIFEST_FILE).write_bytes(encode_manifest(other))
            Publisher(self.store).publish(folder, MODEL, serve=False)
        return other.version

    def swap(self) -> None:
        """Serve another version."""
        Publisher(self.store).promote(MODEL, self.twin("next"))

    def canary(self, window_s: float = CANARY_S, least_requests: int = 5) -> None:
        """Put a version on trial that answers as the served one does."""
        Publisher(self.store).start_trial(
            MODEL,
            self.twin("trial"),
            "canary",
            share=0.5,
            window_s=window_s,
            least_requests=least_requests,
        )

    def damage(self) -> None:
        """Publish a version whose graph is not the one that its manifest tells of."""
        version = self.twin("bad")
        graph = self.store.folder(MODEL, version) / GRAPH_FILE
        graph.chmod(0o644)
        with graph.open("r+b") as file:
            file.seek(100)
            file.write(b"damaged")
        folder = Path(self.store.home.location) / MODEL
        (folder / ".CURRENT.next").write_text(version)
        (folder / ".CURRENT.next").replace(folder / CURRENT_FILE)

    def wait_until(self, done: Callable[[], bool], timeout_s: float = 30.0) -> None:
        end_s = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < end_s
            time.sleep(0.1)


@contextmanager
def _threads(count: int, run: Callable[[int], None]) -> Iterator[None]:
    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()


@contextmanager
def staged(models: Path, folder: Path) -> Iterator[Scene]:
    """Start a service on a copy of `models`; yield when it is ready."""
    shutil.copytree(models, folder / "store")
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRIPTYCH_")}
    settings = {
        "TRIPTYCH_STORE": str(folder / "store"),
        "TRIPTYCH_THREADS": "1",
        "TRIPTYCH_MAX_QUEUE_ROWS": str(QUEUE_ROWS),
        "TRIPTYCH_CACHE_MIB": "16",
        "BENTOML_HOME": str(folder / "home"),
        "BENTOML_DO_NOT_TRACK": "True",
        "OMP_NUM_THREADS": "1",
    }
    (folder / "home").mkdir()
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "bentoml", "serve", "service.app:Triptych"),
                *("--host", "127.0.0.1", "--port", str(port)),
                *("--timeout-graceful-shutdown", "5"),
            ],
            cwd=ROOT,
            env=kept | settings,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    with server:
        try:
            scene = Scene(port, Store(folder / "store"))

            def ready() -> bool:
                assert server.poll() is None, (folder / "log").read_text()
                with contextlib.suppress(OSError):
                    return scene.ask("/readyz") == 200
                return False

            scene.wait_until(ready, 60)
            yield scene
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=30)
