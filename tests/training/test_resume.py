"""Runs that are killed, stopped, crowded or out of disk, and go on with nothing lost."""

from __future__ import annotations

import json
import os
import shlex
import signal
from pathlib import Path

import pytest
from watchfiles import watch

from service.store import Store
from tests.training import faults
from tests.training.conformance import case
from training.kinds import kinds
from training.partners import partner_folder
from training.publish import served_manifest, versions
from training.steps import STEPS

# Each point of a fault is a process or two.
pytestmark = pytest.mark.timeout(900)
MODEL = "shakespeare"
RESULTS = {
    "fit": "fit.json",
    "export": "export.json",
    "verify": "verification.json",
    "quantise": "variants.json",
    "evaluate": "evaluation.json",
    "gate": "gate.json",
}


class Bench:
    """A user's folder, in which a tiny model is trained again and again."""

    def __init__(self, folder: Path, source: Path, cache_dir: Path, kind: str = "lstm") -> None:
        self.folder, self.runs, self.store = folder, folder / "runs", folder / "models"
        self.model = kinds()[kind].default_model
        floors = [f"--floor={metric}={value}" for metric, value in case(kind).FLOORS.items()]
        places = ["--runs", str(self.runs), "--store", str(self.store)]
        places += ["--cache-dir", str(cache_dir), "--threads", "1"]
        # The clock must not decide which graph is served, nor whether it is.
        self.places = places
        self.common = [*places, *floors, "--precision", "float32", "--allow-slower", "100"]
        self.asked = ["--kind", kind, "--preset", "tiny", "--data", str(source)]
        self.log = folder / "log"

    def start(self, *words: str, fault: str = "") -> faults.Ended:
        return faults.run(["run", *self.asked, *self.common, *words], self.log, fault)

    def resume(self, fault: str = "") -> faults.Ended:
        return faults.run(["run", "--model", self.model, "--resume", *self.common], self.log, fault)

    @property
    def run(self) -> Path:
        (folder,) = (self.runs / self.model).glob("*/")
        return folder

    def times(self) -> dict[str, int]:
        """When each step's result was written."""
        return {
            step: (self.run / file).stat().st_mtime_ns
            for step, file in RESULTS.items()
            if (self.run / file).exists()
        }

    def outcome(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.run / "outcome.json").read_text())
        return found

    def assert_whole(self) -> None:
        """Every version in the store is what its manifest says, and no other folder shows."""
        store = Store(self.store)
        for version in versions(self.store, self.model):
            assert store.verified(self.model, version).version == version

    def served_sha256(self) -> str:
        manifest = served_manifest(self.store, self.model)
        assert manifest is not None
        return manifest.graph_sha256


@pytest.fixture
def bench(tmp_path: Path, sources: dict[str, Path], cache_dir: Path) -> Bench:
    return Bench(tmp_path, sources["lstm"], cache_dir)


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, sources: dict[str, Path], cache_dir: Path
) -> str:
    """The graph that a run publishes which nothing befell."""
    bench = Bench(tmp_path_factory.mktemp("undisturbed"), sources["lstm"], cache_dir)
    ended = bench.start()
    assert ended.code == 0, ended.err
    assert "done already" not in ended.out
    assert bench.outcome()["state"] == "published"
    return bench.served_sha256()


EPOCH = 33  # steps of one
IN_THE_FIT = ("batch:4", "writing:best.pt", "writing:checkpoint.pt", f"batch:{EPOCH + 2}")
IN_PUBLISHING = ("writing:.staging-", "writing:CURRENT", "after:publish")


def test_a_run_killed_at_every_point_in_turn_publishes_what_an_undisturbed_one_does(
    bench: Bench, undisturbed: str
) -> None:
    assert bench.start(fault=IN_THE_FIT[0]).code == -9
    for point in IN_THE_FIT[1:]:
        assert bench.resume(point).code == -9, point
        assert bench.times() == {}
    later = [(f"writing:{file}", f"after:{step}") for step, file in RESULTS.items()]
    for point in (*(point for pair in later for point in pair), *IN_PUBLISHING):
        before = bench.times()
        ended = bench.resume(point)
        assert ended.code == -9, (point, ended)
        for step in STEPS:
            assert (f"{step}: done already" in ended.out) == (step in before), (point, step)
        after = bench.times()
        assert {step: after[step] for step in before} == before, point
        assert not (bench.run / "outcome.json").exists()
        bench.assert_whole()
    ended = bench.resume()
    assert ended.code == 0, ended.err
    assert [f"{step}: done already" for step in STEPS] == ended.out.splitlines()[1:]
    assert bench.times() == after
    assert bench.served_sha256() == undisturbed
    outcome = bench.outcome()
    assert (outcome["state"], outcome["step"]) == ("published", "publish")
    assert outcome["version"] == Store(bench.store).current(MODEL)


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_a_killed_run_of_every_kind_goes_on(
    kind: str, sources: dict[str, Path], cache_dir: Path, tiny_store: Path, tmp_path: Path
) -> None:
    bench = Bench(tmp_path, sources[kind], cache_dir, kind)
    if partner := partner_folder(tiny_store, kinds()[kind], None):
        bench.common += ["--judge", str(partner)]
    if kinds()[kind].int8 is not None:
        bench.common += ["--precision", "int8"]  # the last one given counts
    assert bench.start(fault="batch:2").code == -9
    for point in ("writing:variants.json", "writing:evaluation.json", "after:gate"):
        assert bench.resume(point).code == -9, point
    ended = bench.resume()
    assert ended.code == 0, ended.err
    assert ended.out.count("done already") == len(STEPS) - 1
    bench.assert_whole()
    assert set(bench.times()) == set(RESULTS)


def test_retraining_goes_on_with_a_run_of_the_same_request_and_else_starts_one(
    bench: Bench,
) -> None:
    assert bench.start("--resume", "auto", fault="after:export").code == -9
    first = bench.run
    other = bench.start("--resume", "auto", "--seed", "9", fault="before:export")
    assert other.code == -9
    assert len(list(first.parent.glob("*/"))) == 2  # another seed: not the run that was broken off
    ended = bench.start("--resume", "auto")
    assert ended.code == 0, ended.err
    assert f"run: {first}" in ended.out
    assert "export: done already" in ended.out
    again = bench.start("--resume", "auto", fault="before:export")  # that one is over
    assert again.code == -9
    assert len(list(first.parent.glob("*/"))) == 3
    ended = bench.start("--resume", "latest")
    assert ended.code == 2  # what was asked for cannot be changed
    done = faults.run(["run", "--resume", "--run-dir", str(first), *bench.common], bench.log)
    assert done.code == 0
    assert "nothing is left to do" in done.out


def test_a_run_is_not_gone_on_with_on_other_data(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "text.txt"
    source.write_text(Path(bench.asked[-1]).read_text())
    bench.asked[-1] = str(source)
    assert bench.start(fault="after:fit").code == -9
    first = bench.run
    source.write_text(source.read_text() + "More of it.\n")
    refused = bench.resume()
    assert refused.code == 4
    assert "the data have changed" in refused.err
    assert bench.start("--resume", "auto", fault="before:export").code == -9
    assert len(list(first.parent.glob("*/"))) == 2


def test_two_runs_of_a_model_at_once_are_one_too_many(bench: Bench) -> None:
    log = bench.folder / "long"
    words = ["run", *bench.asked, "--set", "fit.epochs=100000", *bench.common]
    process = faults.start(words, log)
    try:
        wait_for(log.with_suffix(".out"), "epoch   1")
        second = bench.start()
        assert second.code == 5
        assert f"process {process.pid} on " in second.err
        assert "UTC" in second.err
        by_hand = faults.run(["export", "--model", MODEL, *bench.places], bench.log)
        assert by_hand.code == 5
        other = faults.run(["fit", *bench.asked, "--model", "another", *bench.places], bench.log)
        assert other.code == 0, other.err
    finally:
        process.kill()
        process.join()
    ended = bench.start()  # the kernel let go of the lock
    assert ended.code == 0, ended.err


def test_an_interrupted_run_says_so_and_how_to_go_on(bench: Bench) -> None:
    log = bench.folder / "long"
    words = ["run", *bench.asked, "--set", "fit.epochs=40", *bench.common]
    process = faults.start(words, log)
    wait_for(log.with_suffix(".out"), "epoch   1")
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 130
    assert bench.outcome()["state"] == "interrupted"
    assert go_on(log.read_text(), bench).code == 0
    assert bench.outcome()["state"] == "published"


@pytest.mark.parametrize("full", ["fit", "export", "verify", "evaluate", "publish", "store"])
def test_a_full_disk_fails_a_step_and_the_run_goes_on_when_there_is_room(
    bench: Bench, undisturbed: str, full: str
) -> None:
    failed = bench.start(fault=f"full:{full}")
    step = "publish" if full == "store" else full
    assert failed.code == 4, failed.err
    assert f"failed at step `{step}`" in failed.err
    assert bench.outcome()["state"] == "failed"
    assert bench.outcome()["step"] == step
    assert served_manifest(bench.store, MODEL) is None
    assert versions(bench.store, MODEL) == []
    ended = go_on(failed.err, bench)
    assert ended.code == 0, ended.err
    for done in STEPS[: STEPS.index(step)]:
        assert f"{done}: done already" in ended.out
    assert bench.served_sha256() == undisturbed


def test_a_refused_run_says_by_how_much_and_is_over(bench: Bench) -> None:
    refused = bench.start("--floor", "val_loss_nats=0.5", fault="")
    assert refused.code == 3
    assert "misses the ceiling 0.5 by" in refused.err
    outcome = bench.outcome()
    assert (outcome["state"], outcome["step"], outcome["version"]) == ("refused", "gate", "")
    assert "misses the ceiling 0.5 by" in outcome["message"]
    ended = bench.resume()  # with the usual floors, as told anew
    assert ended.code == 0, ended.err
    assert "evaluate: done already" in ended.out
    assert "gate: done already" not in ended.out


def go_on(complaint: str, bench: Bench) -> faults.Ended:
    """What the last line of a complaint says to do."""
    printed = complaint.strip().splitlines()[-1]
    assert printed.startswith("to go on: triptych-train run --resume")
    words = shlex.split(printed.removeprefix("to go on: triptych-train "))
    return faults.run(words, bench.log)


def wait_for(path: Path, text: str) -> None:
    """Until the file holds the text, as told by the system's notices of changes."""
    for _ in watch(path.parent, rust_timeout=60_000, yield_on_timeout=True):
        if path.exists() and text in path.read_text():
            return
