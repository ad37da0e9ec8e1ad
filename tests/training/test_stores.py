"""`triptych-train store`, as an operator uses it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from service.contract import GRAPH_FILE
from service.store import Store
from service.store.trial import read_trial
from tests.service.variants import copy_store, move_weights, publish_variant
from training.cli import main

NAME = "shakespeare"


@pytest.fixture
def store(tiny_store: Path, tmp_path: Path) -> Store:
    made = copy_store(tiny_store, tmp_path / "store")
    publish_variant(made, NAME, "v2", tmp_path, change=move_weights)
    return made


@pytest.fixture
def desk(store: Store, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run one action; the exit code and what was printed."""

    def run(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(["store", *words, "--store", str(store.home.location)])
        told = capsys.readouterr()
        return code, told.out + told.err

    return run


def test_list_tells_who_published_what_and_what_is_served(
    desk: Callable[..., tuple[int, str]], store: Store
) -> None:
    code, told = desk("list", "--json")
    assert code == 0
    rows = json.loads(told)
    assert {row["model"] for row in rows} == {"cifar10", "cifar10-gan", NAME}
    ours = {row["version"]: row for row in rows if row["model"] == NAME}
    assert len(ours) == 2
    assert ours["v2"]["state"] == "served"
    assert "@" in ours["v2"]["by"]
    assert "val_loss_nats" in ours["v2"]["figures"]
    code, told = desk("list", "--model", NAME)
    assert code == 0
    assert [line.split()[0] for line in told.splitlines()] == ["model", NAME, NAME]


def test_show_gives_the_manifest(desk: Callable[..., tuple[int, str]]) -> None:
    code, told = desk("show", "--model", NAME)
    assert code == 0
    assert json.loads(told)["version"] == "v2"


def test_diff_sets_figures_and_answers_side_by_side(
    desk: Callable[..., tuple[int, str]], store: Store
) -> None:
    first = next(version for version in store.versions(NAME) if version != "v2")
    code, told = desk("diff", "--model", NAME, "--version", first, "--json")
    assert code == 0
    rows = {row["what"]: row for row in json.loads(told)}
    assert rows["val_loss_nats"][first] == rows["val_loss_nats"]["v2"]
    assert "differ by" in rows["answers: logits"][first]
    assert "differ by 0 on" not in rows["answers: logits"][first]
    code, told = desk("diff", "--model", NAME, "--version", "v2", "--against", "v2", "--json")
    (row,) = [row for row in json.loads(told) if row["what"] == "answers: logits"]
    assert row["v2"] in ("", "differ by 0 on average, 0 at most")


def test_going_back_and_forth_is_written_down(
    desk: Callable[..., tuple[int, str]], store: Store
) -> None:
    first = next(version for version in store.versions(NAME) if version != "v2")
    assert desk("rollback", "--model", NAME, "--note", "too slow") == (
        0,
        f"{NAME} serves {first}\n",
    )
    assert store.current(NAME) == first
    assert desk("promote", "--model", NAME, "--version", "v2")[0] == 0
    assert store.current(NAME) == "v2"
    code, told = desk("log", "--model", NAME, "--json")
    assert code == 0
    entries = json.loads(told)
    assert [entry["action"] for entry in entries] == [
        "published", "published", "rolled back", "promoted",
    ]  # fmt: skip
    assert entries[2]["note"] == "too slow"


@pytest.mark.parametrize("share", ["5%", "0.05"])
def test_a_canary_begins_and_is_stopped(
    desk: Callable[..., tuple[int, str]], store: Store, share: str
) -> None:
    first = next(version for version in store.versions(NAME) if version != "v2")
    code, told = desk("promote", "--model", NAME, "--version", first, "--canary", share)
    assert code == 0
    assert "on trial against v2 as a canary with 0.05" in told
    trial, _ = read_trial(store.home, NAME)
    assert trial is not None
    assert (trial.version, trial.share, trial.mode) == (first, 0.05, "canary")
    rows = json.loads(desk("list", "--model", NAME, "--json")[1])
    assert {row["version"]: row["state"] for row in rows} == {first: "canary 0.05", "v2": "served"}
    assert desk("promote", "--model", NAME, "--version", first, "--shadow", "1")[0] == 4
    assert desk("stop", "--model", NAME, "--note", "enough")[0] == 0
    ended, _ = read_trial(store.home, NAME)
    assert ended is not None
    assert (ended.state, ended.reason) == ("stopped", "enough")
    assert desk("stop", "--model", NAME)[0] == 4


def test_verify_finds_what_is_broken(desk: Callable[..., tuple[int, str]], store: Store) -> None:
    code, told = desk("verify", "--json")
    assert code == 0
    assert {row["found"] for row in json.loads(told)} == {"whole"}
    (store.folder(NAME, "v2") / GRAPH_FILE).write_bytes(b"x")
    code, told = desk("verify")
    assert code == 4
    assert "is not the file that was published" in told
    assert "the store is not sound" in told


def test_sweep_removes_what_is_beyond_keep(
    desk: Callable[..., tuple[int, str]], store: Store
) -> None:
    (Path(store.home.location) / NAME / ".staging-dead").mkdir()
    code, told = desk("sweep", "--keep", "1")
    assert code == 0
    assert f"removed {NAME}/.staging-dead" in told
    assert store.versions(NAME) == ["v2"]
    assert desk("sweep", "--keep", "1") == (0, "nothing to remove\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["promote", "--version", "v1"], "needs --model"),
        (["promote", "--model", NAME], "--version V"),
        (["diff", "--model", NAME], "--version V"),
        (
            ["promote", "--model", NAME, "--version", "v2", "--canary", "1", "--shadow", "1"],
            "one or the other",
        ),
    ],
)
def test_wrong_usage_is_said(
    desk: Callable[..., tuple[int, str]], words: list[str], says: str
) -> None:
    code, told = desk(*words)
    assert code == 2
    assert says in told


@pytest.mark.parametrize("share", ["0", "101%", "-1", "half"])
def test_a_share_that_is_none_is_refused(desk: Callable[..., tuple[int, str]], share: str) -> None:
    with pytest.raises(SystemExit) as stop:
        desk("promote", "--model", NAME, "--version", "v2", "--canary", share)
    assert stop.value.code == 2


def test_what_is_not_there_is_said(desk: Callable[..., tuple[int, str]]) -> None:
    code, told = desk("promote", "--model", NAME, "--version", "v404")
    assert code == 4
    assert "has no version 'v404'" in told
    assert "Traceback" not in told
