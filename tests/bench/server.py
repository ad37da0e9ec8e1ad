"""The service as a user starts it, pinned to cores."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.process import Server, running
from tests.ports import free_port


@contextmanager
def serving(store: Path, *, cores: set[int], workers: int = 1) -> Iterator[Server]:
    """Start the service on a store and the given cores; yield it when it is ready."""
    port = free_port()
    with tempfile.TemporaryDirectory() as home:
        command = [
            *(str(Path(sys.executable).with_name("bentoml")), "serve", "service.app:Triptych"),
            *("--host", "127.0.0.1", "--port", str(port), "--timeout-keep-alive", "75"),
        ]
        env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("TRIPTYCH_")},
            "TRIPTYCH_STORE": str(store.absolute()),
            "TRIPTYCH_WORKERS": str(workers),
            "BENTOML_HOME": home,
            "BENTOML_DO_NOT_TRACK": "True",
        }
        log = Path(home) / "server.out"
        with running(
            command, env=env, port=port, ready_path="/readyz", cores=cores, log=log
        ) as server:
            yield server
