"""`deploy/check_service.py` on a service that is well, on a wrong address, and on none."""

from __future__ import annotations

import subprocess
import sys

from tests.deploy.conftest import DEPLOY, Served
from tests.ports import free_port


def check(url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, DEPLOY / "check_service.py", url, "--ready-timeout-s", "0"],
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_endpoint_is_asked(served: Served) -> None:
    lines = [line.split()[0] for line in served.report.splitlines()]
    assert lines[0] == "ready"
    assert lines.count("model") >= 3
    kinds = ["generations", "classify", "completions", "sample"]
    assert lines[-6:] == [*kinds, "page", "metrics"]


def test_a_wrong_address_fails(served: Served) -> None:
    result = check(f"{served.url}/nothing-here")
    assert result.returncode == 1
    assert "404" in result.stderr


def test_no_service_fails() -> None:
    result = check(f"http://127.0.0.1:{free_port()}")
    assert result.returncode == 1
    assert "refused" in result.stderr
