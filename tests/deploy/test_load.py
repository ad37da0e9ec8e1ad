"""The load test is run for a moment: it passes on a service, and fails without one."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

from tests.deploy.conftest import DEPLOY, Served, clean_environment
from tests.ports import free_port

ROUTES = {"/v1/classify", "/v1/completions", "/v1/sample"}


def load(port: int, folder: Path, *, run_time: str) -> subprocess.CompletedProcess[str]:
    locust = Path(sys.executable).with_name("locust")
    return subprocess.run(
        [DEPLOY / "load" / "run.sh", locust],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(
            HOST="127.0.0.1", PORT=str(port), USERS="4", RUN_TIME=run_time, REPORTS=str(folder)
        ),
    )


def test_load_on_a_service(served: Served, tmp_path: Path) -> None:
    result = load(served.port, tmp_path, run_time="3s")
    assert result.returncode == 0, result.stdout + result.stderr
    with (tmp_path / "load_stats.csv").open() as file:
        rows = {row["Name"]: row for row in csv.DictReader(file)}
    assert set(rows) == ROUTES | {"Aggregated"}
    for row in rows.values():
        assert int(row["Request Count"]) > 0
        assert int(row["Failure Count"]) == 0
    assert "/v1/classify" in (tmp_path / "load.html").read_text()


def test_load_on_nothing_fails(tmp_path: Path) -> None:
    result = load(free_port(), tmp_path, run_time="1s")
    assert result.returncode == 1
    assert "ConnectionRefused" in result.stdout + result.stderr
