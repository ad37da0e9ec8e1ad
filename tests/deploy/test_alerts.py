"""Rules and alerts by promtool: each fires when it should, and does not when it should not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import yaml

from tests.deploy.conftest import program
from tests.deploy.prometheus import RULES, SHIPPED, rules

CASES = Path(__file__).parent / "alerts_test.yml"


def promtool(*arguments: str | Path) -> None:
    result = subprocess.run(
        [program("promtool"), *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_configuration() -> None:
    promtool("check", "config", SHIPPED / "prometheus.yml")


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    for file in (*(SHIPPED / name for name in RULES), CASES):
        shutil.copy(file, tmp_path)
    promtool("test", "rules", tmp_path / CASES.name)


def test_each_alert_is_seen_firing_and_silent() -> None:
    fired, silent = set(), set()
    for case in yaml.safe_load(CASES.read_text())["tests"]:
        for test in case["alert_rule_test"]:
            (fired if test["exp_alerts"] else silent).add(test["alertname"])
    names = {rule["alert"] for rule in rules("alerts.yml")}
    assert fired == names
    assert silent == names
