"""Alerts and dashboard: known series, tested rules, and queries that a real Prometheus runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from prometheus_client import Counter, Gauge

from service import metrics
from service.tally import Count, Distribution, Level
from tests.deploy.conftest import DEPLOY, Served, program
from tests.deploy.manifests import scaling_queries
from tests.ports import free_port

PROMETHEUS = DEPLOY / "prometheus"
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "triptych.json").read_text())
SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_count", "_sum"),
}


def dashboard_queries() -> dict[str, str]:
    """Every query of the dashboard by panel, its variables replaced as Grafana would."""
    queries = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    } | {note["name"]: note["expr"] for note in DASHBOARD["annotations"]["list"]}
    return {
        name: query.replace("$__rate_interval", "20s").replace("$model", ".*")
        for name, query in queries.items()
    }


def alert_queries() -> dict[str, str]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


QUERIES = dashboard_queries() | alert_queries() | scaling_queries()


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
def test_queries_use_series_and_outcomes_that_the_service_has(query: str) -> None:
    families = [
        family
        for collector in vars(metrics).values()
        if isinstance(collector, Counter | Gauge | Count | Level | Distribution)
        for family in collector.describe()
    ]
    known = {family.name + suffix for family in families for suffix in SUFFIXES[family.type]}
    named = set(re.findall(r"triptych_\w+", query))
    assert named <= known
    for outcomes in re.findall(r'outcome=~?"([^"]*)"', query):
        assert set(outcomes.split("|")) <= set(get_args(metrics.Outcome))


def test_panels_do_not_overlap() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        area = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & area
        cells |= area
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def promtool(*arguments: str | Path) -> None:
    result = subprocess.run(
        [program("promtool"), *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_configuration() -> None:
    promtool("check", "config", PROMETHEUS / "prometheus.yml")


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    shutil.copy(PROMETHEUS / "alerts.yml", tmp_path)
    shutil.copy(Path(__file__).parent / "alerts_test.yml", tmp_path)
    promtool("test", "rules", tmp_path / "alerts_test.yml")


class Prometheus:
    """A Prometheus that scrapes one service."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/api/v1/"

    def ask(self, query: str) -> list[Any]:
        parameters = urllib.parse.urlencode({"query": query})
        with urllib.request.urlopen(f"{self.url}query?{parameters}") as answer:
            content = json.load(answer)
        assert content["status"] == "success"
        result: list[Any] = content["data"]["result"]
        return result

    def wait_for(self, query: str, timeout_s: float = 20.0) -> None:
        end_s = time.monotonic() + timeout_s
        while True:
            try:
                if self.ask(query):
                    return
            except OSError:
                pass  # it is starting
            assert time.monotonic() < end_s, f"no result of {query} after {timeout_s} s"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def prometheus(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """The shipped configuration with this service as its target, scraped each second."""
    binary = program("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    configuration = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["scrape_configs"][0]["static_configs"] = [
        {"targets": [f"127.0.0.1:{served.port}"]}
    ]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    shutil.copy(PROMETHEUS / "alerts.yml", folder)
    port = free_port()
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [
                binary,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as server,
    ):
        try:
            running = Prometheus(port)
            running.wait_for("count_over_time(triptych_requests_total[10s]) >= 2")
            yield running
        finally:
            server.terminate()


def test_every_query_runs(prometheus: Prometheus) -> None:
    for query in QUERIES.values():
        prometheus.ask(query)


def test_every_panel_has_something_to_show(served: Served, prometheus: Prometheus) -> None:
    # Rates need traffic between two scrapes.
    request = urllib.request.Request(f"{served.url}/v1/sample", b'{"n": 2}')
    for _ in range(3):
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200
        time.sleep(1.1)
    rare = {"Model swaps", "Swaps and load failures A", "Swaps and load failures B"}
    for name, query in dashboard_queries().items():
        if name not in rare:
            assert prometheus.ask(query), name


def test_autoscalers_get_a_number(prometheus: Prometheus) -> None:
    for name, query in scaling_queries().items():
        (result,) = prometheus.ask(query)
        assert float(result["value"][1]) >= 0, name


def test_a_service_that_is_well_raises_no_alert(prometheus: Prometheus) -> None:
    prometheus.wait_for('up{job="triptych"} == 1')
    for name, query in alert_queries().items():
        assert not prometheus.ask(query), name
