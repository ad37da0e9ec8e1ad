"""What every room's tests share: one store of tiny models, made once per run."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store made by the real pipeline: read it, and copy it to change it.

    In a process of its own, so that tests of the service do not load torch; once, where several
    processes share the tests.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, making = shared / "tiny", shared / "tiny.making"
    with (shared / "tiny.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            subprocess.run(
                [sys.executable, "-W", "default", "-m", "tests.tiny_store", making],
                cwd=ROOT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                check=True,
                timeout=280,
            )
            making.rename(folder)
    return folder


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, as the service does."""
    return "asyncio"
