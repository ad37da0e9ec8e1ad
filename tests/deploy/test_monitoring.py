"""Rules, alerts and dashboard: known series, and queries that a real Prometheus answers."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client import Counter, Gauge

from service import metrics
from service.tally import Count, Distribution, Level
from tests.deploy.conftest import DEPLOY, program
from tests.deploy.dashboard import DASHBOARD, note_queries, panel_queries
from tests.deploy.manifests import scaling_queries
from tests.deploy.prometheus import Prometheus, rules, scraping
from tests.deploy.scene import CANARY_S, MODEL, Scene, staged

SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_count", "_sum"),
}
RECORDED = {rule["record"]: rule["expr"] for rule in rules("rules.yml")}
ALERTS = {rule["alert"]: rule for rule in rules("alerts.yml")}
EXPRESSIONS = {name: rule["expr"] for name, rule in ALERTS.items()}
QUERIES = panel_queries() | note_queries() | EXPRESSIONS | RECORDED | scaling_queries()


def families() -> dict[str, str]:
    """Every metric family of the service, with its type."""
    return {
        family.name: family.type
        for collector in vars(metrics).values()
        if isinstance(collector, Counter | Gauge | Count | Level | Distribution)
        for family in collector.describe()
    }


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
def test_queries_use_series_and_outcomes_that_there_are(query: str) -> None:
    known = {name + suffix for name, kind in families().items() for suffix in SUFFIXES[kind]}
    named = set(re.findall(r"triptych_\w+", query))
    assert named <= known
    assert set(re.findall(r"triptych:[\w:]+", query)) <= set(RECORDED)
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


def test_every_alert_has_its_row_in_the_runbook() -> None:
    runbook = (DEPLOY / "README.md").read_text()
    rows = dict(re.findall(r'^\| <a id="(\w+)"></a>(\w+) \| .{20,} \|$', runbook, re.MULTILINE))
    assert rows == {name.lower(): name for name in ALERTS}
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook_url"] == f"deploy/README.md#{name.lower()}"


# --- a real Prometheus, scraping a real service -------------------------------------------------


@pytest.fixture(scope="module")
def scene(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    program("prometheus")
    with staged(tiny_store, tmp_path_factory.mktemp("scene")) as running:
        yield running


@pytest.fixture(scope="module")
def prometheus(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    with scraping(program("prometheus"), scene.port, folder) as running:
        yield running


def swap_and_try(scene: Scene, prometheus: Prometheus) -> None:
    """A swap, and a canary until its verdict; under traffic."""
    if prometheus.ask("sum(triptych_trials_total) >= 1"):
        return
    scene.swap()
    prometheus.wait_for("sum(triptych_model_swaps_total) >= 1")
    scene.canary()
    prometheus.wait_for('triptych_trial{mode="canary"} == 1')
    prometheus.wait_for("sum(triptych_trial_requests_total) > 0")
    # Whether it passes depends on who else uses this machine: its latency is held to the other's.
    prometheus.wait_for("sum(triptych_trials_total) == 1", 10 * CANARY_S)


def test_every_query_runs(prometheus: Prometheus) -> None:
    for query in QUERIES.values():
        prometheus.ask(query)


def test_a_service_that_is_well_raises_no_alert(scene: Scene, prometheus: Prometheus) -> None:
    with scene.traffic():
        time.sleep(4)
    for name, query in EXPRESSIONS.items():
        if name != "TriptychLanesBusy":  # two clients are all that this machine can serve
            assert not prometheus.ask(query), name
    assert prometheus.ask("triptych:availability_burn:rate1h")[0]["value"][1] == "0"
    assert prometheus.firing() == {}


def test_autoscalers_get_a_number(prometheus: Prometheus) -> None:
    for name, query in scaling_queries().items():
        (result,) = prometheus.ask(query)
        assert float(result["value"][1]) >= 0, name


def test_a_damaged_version_is_an_alert_and_an_overload_too(
    scene: Scene, prometheus: Prometheus
) -> None:
    with scene.traffic():
        swap_and_try(scene, prometheus)
        scene.damage()
        scene.wait_until(lambda: "TriptychModelLoadFailed" in prometheus.firing())
        labels = prometheus.firing()["TriptychModelLoadFailed"]
        assert (labels["model"], labels["severity"]) == (MODEL, "ticket")
        # Still answered: by the version before it, so that no budget is spent.
        assert "TriptychAvailabilityBudgetFast" not in prometheus.firing()

        def overrun() -> bool:
            scene.crowd()  # until enough are refused: how many it takes depends on the machine
            return "TriptychAvailabilityBudgetFast" in prometheus.firing()

        scene.wait_until(overrun, 60)
    assert prometheus.firing()["TriptychAvailabilityBudgetFast"]["severity"] == "page"
    assert scene.statuses[429] > 10
    assert set(scene.statuses) <= {200, 400, 429, 503}  # 503 while it starts


def test_every_panel_has_something_to_show(scene: Scene, prometheus: Prometheus) -> None:
    with scene.traffic():
        swap_and_try(scene, prometheus)
        time.sleep(3)
        for name, query in panel_queries().items():
            values = [float(one["value"][1]) for one in prometheus.ask(query)]
            assert not all(map(math.isnan, values)), name
