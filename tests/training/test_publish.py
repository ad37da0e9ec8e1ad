"""Publishing: all or nothing, whatever happens in between."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest

from service.contract import CURRENT_FILE, GRAPH_FILE, MANIFEST_FILE, digest_file
from service.errors import ContractError
from service.store import Store
from service.store.audit import Audit
from service.store.publisher import KEEP_VERSIONS
from tests.training.candidates import make_candidate, make_manifest
from training.errors import PublishError
from training.publish import (
    publish,
    seal,
    served_manifest,
    set_current,
    versions,
)

NAME = "insects"
# Not "fork": the process that runs the tests may have threads, which a fork would not carry over.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.training.test_publish"])


def publish_version(tmp_path: Path, version: str) -> Path:
    return publish(make_candidate(tmp_path / f"run-{version}", NAME, version), tmp_path / "s", NAME)


def assert_serves(store: Path, version: str) -> None:
    """The service, reading for itself, finds this version whole, and no other half-written."""
    reader = Store(store)
    assert reader.current(NAME) == version
    for name in versions(store, NAME):
        assert reader.verified(NAME, name).version == name


def test_a_published_version_is_what_the_service_reads(tmp_path: Path) -> None:
    folder = publish_version(tmp_path, "v1")
    assert folder == tmp_path / "s" / NAME / "v1"
    assert_serves(tmp_path / "s", "v1")
    assert (tmp_path / "s" / NAME / CURRENT_FILE).read_bytes() == b"v1\n"
    assert sorted(path.name for path in folder.iterdir()) == [
        "card.md",
        "golden.npz",
        "manifest.json",
        "model.onnx",
        "plot.png",
    ]
    assert sorted(path.name for path in folder.parent.iterdir()) == [".audit", CURRENT_FILE, "v1"]
    served = served_manifest(tmp_path / "s", NAME)
    assert served is not None
    assert served.version == "v1"


def test_files_that_the_manifest_does_not_list_stay_behind(tmp_path: Path) -> None:
    candidate = make_candidate(tmp_path / "run")
    (candidate / "scratch.bin").write_bytes(b"x")
    assert not (publish(candidate, tmp_path / "s", NAME) / "scratch.bin").exists()


def test_the_version_before_stays_for_rolling_back(tmp_path: Path) -> None:
    publish_version(tmp_path, "v1")
    publish_version(tmp_path, "v2")
    assert_serves(tmp_path / "s", "v2")
    set_current(tmp_path / "s", NAME, "v1")
    assert_serves(tmp_path / "s", "v1")
    assert versions(tmp_path / "s", NAME) == ["v1", "v2"]


def test_the_oldest_versions_are_retired_but_never_the_served_one(tmp_path: Path) -> None:
    for number in range(1, KEEP_VERSIONS + 3):
        publish_version(tmp_path, f"v{number}")
    assert versions(tmp_path / "s", NAME) == ["v3", "v4", "v5", "v6", "v7"]
    publish_version(tmp_path, "v0")  # made before all the others, published now
    assert "v0" in versions(tmp_path / "s", NAME)
    assert_serves(tmp_path / "s", "v0")


@pytest.mark.parametrize("where", ["rename", "replace", "fsync", "copyfile"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_at_any_step_leaves_the_old_version_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException
) -> None:
    publish_version(tmp_path, "v1")
    candidate = make_candidate(tmp_path / "run", NAME, "v2")

    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        owner = {"rename": Path, "replace": os, "fsync": os, "copyfile": shutil}[where]
        patch.setattr(owner, where, fail)
        with pytest.raises(type(error)):
            publish(candidate, tmp_path / "s", NAME)
    assert_serves(tmp_path / "s", "v1")
    left = {path.name for path in (tmp_path / "s" / NAME).iterdir()}
    assert left == {".audit", CURRENT_FILE, "v1"} | ({"v2"} if where == "replace" else set())


def test_a_kill_at_any_step_leaves_a_whole_version_served(tmp_path: Path) -> None:
    """Every flush to disk is a step; the one behind the last lets the publisher live."""
    found, step = [], 0
    while not found or found[-1][0] != 0:
        folder = tmp_path / str(step)
        publish(make_candidate(folder / "run-v1", NAME, "v1"), folder / "s", NAME)
        candidate = make_candidate(folder / "run", NAME, "v2")
        process = PROCESSES.Process(target=_publish_and_die, args=(candidate, folder / "s", step))
        process.start()
        process.join()
        served = Store(folder / "s").current(NAME)
        assert_serves(folder / "s", served)
        found.append((process.exitcode, served))
        publish(make_candidate(folder / "next", NAME, "v3"), folder / "s", NAME)
        assert_serves(folder / "s", "v3")
        hidden = [path.name for path in (folder / "s" / NAME).iterdir() if path.name[0] == "."]
        assert hidden == [".audit"], "the next publisher clears what the dead one left"
        assert Audit(Store(folder / "s").home, NAME).entries()[-1].version == "v3"
        step += 1
    killed = [served for code, served in found if code == -signal.SIGKILL]
    assert len(killed) == len(found) - 1
    # The files and the staging folder, the renaming, CURRENT's new content; then CURRENT's folder
    # and the log.
    assert killed == ["v1"] * 8 + ["v2"] * 3


@pytest.mark.parametrize("again", ["v2", "v3"])
def test_who_died_before_the_last_step_can_go_on(tmp_path: Path, again: str) -> None:
    publish_version(tmp_path, "v1")
    candidate = make_candidate(tmp_path / "run", NAME, "v2")
    process = PROCESSES.Process(target=_publish_and_die, args=(candidate, tmp_path / "s", 7))
    process.start()
    process.join()
    assert "v2" in versions(tmp_path / "s", NAME)
    assert_serves(tmp_path / "s", "v1")
    if again == "v2":
        publish(candidate, tmp_path / "s", NAME)
    else:
        publish_version(tmp_path, "v3")
    assert_serves(tmp_path / "s", again)


def _publish_and_die(candidate: Path, store: Path, step: int) -> None:
    """Publish, and be killed at the given flush to disk: as if the power went."""
    flush = os.fsync
    steps = itertools.count()

    def flush_or_die(descriptor: int) -> None:
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        flush(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", flush_or_die)
        publish(candidate, store, NAME)


def test_a_version_is_never_overwritten(tmp_path: Path) -> None:
    folder = publish_version(tmp_path, "v1")
    before = digest_file(folder / GRAPH_FILE)
    other = make_candidate(tmp_path / "other", NAME, "v1")
    (other / GRAPH_FILE).write_bytes(b"another graph")
    seal(other, make_manifest(NAME, "v1"))
    with pytest.raises(PublishError, match="is published already"):
        publish(other, tmp_path / "s", NAME)
    assert digest_file(folder / GRAPH_FILE) == before


def test_candidates_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    store = tmp_path / "s"
    altered = make_candidate(tmp_path / "altered")
    (altered / GRAPH_FILE).write_bytes(b"x")
    with pytest.raises(PublishError, match=r"model.onnx is not the file"):
        publish(altered, store, NAME)
    missing = make_candidate(tmp_path / "missing")
    (missing / "plot.png").unlink()
    with pytest.raises(PublishError, match=r"plot.png cannot be read"):
        publish(missing, store, NAME)
    with pytest.raises(PublishError, match="export the model first"):
        publish(tmp_path, store, NAME)
    refused = make_candidate(tmp_path / "refused", passed=False)
    with pytest.raises(PublishError, match="refused by the gate"):
        publish(refused, store, NAME)
    with pytest.raises(PublishError, match="is a candidate for 'insects', not 'birds'"):
        publish(make_candidate(tmp_path / "named"), store, "birds")
    cardless = make_candidate(tmp_path / "cardless")
    (cardless / "card.md").unlink()
    seal(cardless, make_manifest())
    with pytest.raises(PublishError, match=r"has no card.md"):
        publish(cardless, store, NAME)
    broken = make_candidate(tmp_path / "broken")
    (broken / MANIFEST_FILE).write_text("{}")
    with pytest.raises(ContractError):
        publish(broken, store, NAME)
    assert not store.exists()


def test_rolling_back_to_what_is_not_there_or_damaged_is_refused(tmp_path: Path) -> None:
    publish_version(tmp_path, "v1")
    folder = publish_version(tmp_path, "v2")
    set_current(tmp_path / "s", NAME, "v1")
    with pytest.raises(PublishError, match="no version 'v9' of 'insects'; it has v1, v2"):
        set_current(tmp_path / "s", NAME, "v9")
    with pytest.raises(ContractError):
        set_current(tmp_path / "s", NAME, "../v1")
    (folder / GRAPH_FILE).write_bytes(b"x")
    with pytest.raises(ContractError, match=r"model.onnx is not the file"):
        set_current(tmp_path / "s", NAME, "v2")
    assert Store(tmp_path / "s").current(NAME) == "v1"


def test_nothing_is_served_before_the_first_publish(tmp_path: Path) -> None:
    assert served_manifest(tmp_path, NAME) is None
    assert versions(tmp_path, NAME) == []


def test_publishers_of_one_model_take_turns(tmp_path: Path) -> None:
    names = [f"v{number}" for number in range(4)]
    processes = [
        PROCESSES.Process(
            target=publish,
            args=(make_candidate(tmp_path / name, NAME, name), tmp_path / "s", NAME),
        )
        for name in names
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert versions(tmp_path / "s", NAME) == names
    assert_serves(tmp_path / "s", Store(tmp_path / "s").current(NAME))
    left = {path.name for path in (tmp_path / "s" / NAME).iterdir()}
    assert left == {".audit", CURRENT_FILE, *names}
    entries = Audit(Store(tmp_path / "s").home, NAME).entries()
    assert {entry.version for entry in entries} == set(names)
    assert [entry.before for entry in entries] == ["", *(e.version for e in entries[:-1])]
