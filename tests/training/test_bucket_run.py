"""A whole run into a bucket, and the store's command line on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.store import Store, open_home
from tests.bucket import new_bucket, s3_server
from tests.training.conformance import case
from training.cli import main

NAME = "shakespeare"


@pytest.fixture
def location(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    with s3_server() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield new_bucket(variables)


def test_runs_publish_into_a_bucket(
    location: str,
    sources: dict[str, Path],
    cache_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lenient = [
        word
        for metric, floor in case("lstm").FLOORS.items()
        for word in ("--floor", f"{metric}={floor}")
    ]
    places = ["--store", location, "--runs", str(tmp_path / "runs"), "--cache-dir", str(cache_dir)]
    words = ["run", "--kind", "lstm", "--preset", "tiny", "--data", str(sources["lstm"])]
    words += ["--precision", "float32", *lenient, *places]
    assert main(words) == 0
    store = Store(open_home(location))
    first = store.current(NAME)
    assert store.verified(NAME, first).kind == "lstm"
    # The gate reads the served version from the bucket, and runs it beside the candidate.
    again = ["--seed", "2", "--allow-slower", "9", "--allow-worse", "val_loss_nats=9"]
    assert main([*words, *again]) == 0
    second = store.current(NAME)
    assert second != first
    gate = store.manifest(NAME, second).gate
    assert any(check.test for check in gate.checks)
    assert main(["store", "rollback", "--model", NAME, "--store", location]) == 0
    assert store.current(NAME) == first
    assert main(["store", "verify", "--store", location]) == 0
    capsys.readouterr()
    assert main(["store", "log", "--store", location, "--json"]) == 0
    actions = [entry["action"] for entry in json.loads(capsys.readouterr().out)]
    assert actions == ["published", "published", "rolled back"]
