"""A service as an operator starts it, on the shipped models: `bentoml serve` on a free port."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


@dataclass(frozen=True)
class Served:
    """Where a service listens, and what `check_service.py` printed of it."""

    port: int
    report: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def clean_environment(**extra: str) -> dict[str, str]:
    """This environment without our own settings, plus `extra`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRIPTYCH_")}
    return kept | {"OMP_NUM_THREADS": "1", "BENTOML_DO_NOT_TRACK": "True"} | extra


def program(*names: str) -> str:
    """Path of the first of these programs that is installed; skips the test if none is."""
    for name in names:
        if found := shutil.which(name):
            return found
    pytest.skip(f"none of these programs is installed: {', '.join(names)}")


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped models; where none is shipped, tiny ones made on the spot."""
    shipped = ROOT / "models"
    if list(shipped.glob("*/CURRENT")):
        return shipped
    folder = tmp_path_factory.mktemp("store")
    subprocess.run(
        [sys.executable, "-m", "tests.tiny_store", folder],
        cwd=ROOT,
        env=clean_environment(),
        check=True,
    )
    return folder


@pytest.fixture(scope="session")
def served(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A running service that has answered one request of each kind."""
    home = tmp_path_factory.mktemp("bentoml")
    port = free_port()
    environment = clean_environment(
        TRIPTYCH_STORE=str(store.resolve()), TRIPTYCH_THREADS="1", BENTOML_HOME=str(home)
    )
    log = home / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "bentoml", "serve", "service.app:Triptych"),
                *("--host", "127.0.0.1", "--port", str(port)),
                *("--timeout-graceful-shutdown", "5"),
            ],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    with server:
        try:
            check = subprocess.run(
                [sys.executable, DEPLOY / "check_service.py", f"http://127.0.0.1:{port}"],
                capture_output=True,
                text=True,
                check=False,
            )
            assert check.returncode == 0, f"{check.stdout}{check.stderr}\n{log.read_text()}"
            yield Served(port, check.stdout)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=30)
