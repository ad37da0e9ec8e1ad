"""Load tests are run for a moment: they pass on a service, and fail without one."""

from __future__ import annotations

import csv
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from service.store import Store
from tests.bench.load import capacity, observe, report
from tests.bench.load.costs import cost_of, measure_runs
from tests.bench.load.own import model_line
from tests.bench.load.search import Effort
from tests.bench.load.soak import look, mixed
from tests.bench.load.step import Place, run_step
from tests.bench.load.targets import SHARES, find_targets
from tests.bench.machine import describe_machine
from tests.bench.process import Server
from tests.deploy.conftest import ROOT, Served, clean_environment
from tests.ports import free_port

ROUTES = {
    "/v1/classify",
    "/v2/models/cifar10/infer",
    "/v1/completions",
    "/v1/completions, streamed",
    "/v1/sample",
}
BUSY_MS = 30_000.0  # neither service nor generator is held to its time on a busy machine


def load(port: int, folder: Path, *, run_time: str) -> subprocess.CompletedProcess[str]:
    locust = Path(sys.executable).with_name("locust")
    return subprocess.run(
        [ROOT / "tests" / "bench" / "load" / "run.sh", locust],
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(
            HOST="127.0.0.1", PORT=str(port), USERS="4", RUN_TIME=run_time, REPORTS=str(folder)
        ),
    )


def test_load_on_a_service(served: Served, tmp_path: Path) -> None:
    result = load(served.port, tmp_path, run_time="5s")
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


@pytest.fixture(scope="module")
def place(served: Served) -> Place:
    return Place("127.0.0.1", served.port, late_ms=BUSY_MS)


def test_the_open_loop_asks_every_endpoint_for_what_it_gives(served: Served, place: Place) -> None:
    """A rate that any machine takes, with bad requests and clients that leave among the others."""
    targets = find_targets(observe.models(place.host, place.port), dict.fromkeys(SHARES, BUSY_MS))
    assert set(targets) == set(SHARES)
    demand = mixed(targets)
    even = [1.0] * len(demand.targets)
    point = run_step(place, replace(demand, shares=even), 20, 4.0)
    assert point["ok"] == point["sent"] > 40, point
    assert all(part["ok"] for part in point["parts"].values())
    assert point["objective_met"]


def test_a_search_on_a_service_makes_a_report(
    served: Served, place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `make load` does, with an objective and a highest rate that any machine keeps."""
    models = observe.models(place.host, place.port)
    targets = find_targets(models, dict.fromkeys(SHARES, BUSY_MS))
    effort = Effort(start=8.0, attempts=1, repeats=1, most=8.0)
    plan = capacity.Plan(1.0, 0.5, 1.0, effort, curve=(), only=("classify",))
    found = capacity.measure(place, targets, plan)
    (endpoint,) = found["endpoints"]
    assert endpoint["highest"] == 8.0
    assert endpoint["repeats"] == 1
    assert {one["model"] for one in found["seen"]} == {targets["classify"].path.partition("=")[2]}
    assert all(one["rows"] >= 1 and one["seconds"] > 0 for one in found["seen"])
    found |= {
        "machine": describe_machine(),
        "models": [model_line(model) for model in models],
        "service": "",
        "step_s": plan.step_s,
        "repeats": 1,
        "overload": [],
        "costs": [],
        "queueing": [],
    }
    report.write(found, tmp_path, "open-loop")
    assert "| classify, one JPEG | 30000 ms | 8.0 |" in capsys.readouterr().out
    assert "classify, one JPEG" in (tmp_path / "open-loop.html").read_text()


def test_the_cost_of_a_batch_of_a_published_model(store: Path) -> None:
    name = Store(store).names()[0]
    runs = measure_runs(store, name, (1, 8, 16), 3)
    assert sorted(runs["rows"]) == [1] * 3 + [8] * 3 + [16] * 3
    cost = cost_of({"model": name}, runs, [])
    assert cost["b_ms"] > 0


def test_a_look_at_a_service_from_outside(served: Served, tmp_path: Path) -> None:
    """Its memory, descriptors and threads; a client's connection is counted apart."""
    server = Server(served.process, served.port, 0.0)
    before = look(server)
    assert before["pss_mib"] > 20
    assert before["descriptors"] > 5
    assert before["threads"] >= 1
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")
        during = look(server)
    assert during["connections"] > before["connections"]
    assert during["descriptors"] <= before["descriptors"] + 2
