"""A published version, measured anew: the same graphs under a card with today's figures."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from service.contract import GRAPH_FILE, Gate, GateCheck
from tests.training.reproducing import reproduce
from training.publish import served_manifest, versions
from training.renewal import demanded_before


def alter(version: Path, change: dict[str, Any]) -> dict[str, Any]:
    """Change the manifest; returns it as it was."""
    path = version / "manifest.json"
    before: dict[str, Any] = json.loads(path.read_text())
    path.write_text(json.dumps(before | change))
    return before


def test_the_same_graphs_are_served_under_figures_of_today(
    version: Path, sources: dict[str, Path], cache_dir: Path
) -> None:
    before = alter(version, {"metrics": {"val_loss_nats": 1.0}, "created_at": "2020"})
    (version.parent.parent.parent / "run").rename(version.parent.parent.parent / "gone")
    assert reproduce(version, sources["lstm"], cache_dir, "--publish") == 0
    served = served_manifest(version.parent.parent, version.parent.name)
    assert served is not None and served.version != version.name
    assert versions(version.parent.parent, version.parent.name) == [version.name, served.version]
    folder = version.parent / served.version
    assert served.metrics == pytest.approx(before["metrics"])
    assert served.created_at > "2026"
    for file in (GRAPH_FILE, "golden.npz", "curves.png"):
        assert (folder / file).read_bytes() == (version / file).read_bytes()

    def without_made(card: Path) -> list[str]:
        lines = card.read_text().splitlines()
        return [line for line in lines if not line.startswith(("| Version |", "| Made |"))]

    assert without_made(folder / "card.md") == without_made(version / "card.md")
    assert reproduce(version, sources["lstm"], cache_dir) == 0


def test_a_version_of_the_same_second_gets_a_name_of_its_own(
    version: Path, sources: dict[str, Path], cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = datetime.strptime(version.name.partition("-")[0], "%Y%m%dt%H%M%S").replace(tzinfo=UTC)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return made

    monkeypatch.setattr("training.renewal.datetime", Clock)
    assert reproduce(version, sources["lstm"], cache_dir, "--publish") == 0
    found = versions(version.parent.parent, version.parent.name)
    assert found == [
        version.name,
        f"{made + timedelta(seconds=1):%Y%m%dt%H%M%S}{version.name[15:]}",
    ]


def test_figures_below_the_floor_they_were_held_to_change_nothing(
    version: Path, sources: dict[str, Path], cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (check,) = [
        check
        for check in json.loads((version / "manifest.json").read_text())["gate"]["checks"]
        if check["metric"] == "val_loss_nats"
    ]
    alter(version, {"gate": {"passed": True, "checks": [check | {"floor": 0.1}]}})
    assert reproduce(version, sources["lstm"], cache_dir, "--publish") == 3
    assert "val_loss_nats" in capsys.readouterr().err
    assert versions(version.parent.parent, version.parent.name) == [version.name]


def test_costs_beside_the_version_before_are_demanded_no_more() -> None:
    checks = [
        GateCheck(metric=metric, value=1.0, goal="min", floor=1.5, served=served, passed=True)
        for metric, served in (("val_loss_nats", 0.9), ("time_ratio", None), ("size_ratio", None))
    ]
    (rule,) = demanded_before(Gate(passed=True, checks=tuple(checks)))
    assert (rule.metric, rule.goal, rule.floor, rule.tolerance) == ("val_loss_nats", "min", 1.5, 0)
