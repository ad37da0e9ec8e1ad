"""The command line, from a folder of data to a published model."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from service.contract import decode_manifest
from service.session import Session
from service.store import Store
from service.store.trial import read_trial
from tests.training.conformance import case
from training.cli import main
from training.kinds import kinds
from training.publish import served_manifest

ROOT = Path(__file__).resolve().parents[2]


class Desk:
    """Where a user works: data, runs and a store, and the command line over them."""

    def __init__(self, folder: Path, sources: dict[str, Path], cache_dir: Path) -> None:
        self.runs, self.store = folder / "runs", folder / "models"
        self.sources = sources
        self.cache = ["--cache-dir", str(cache_dir)]
        self.places = ["--runs", str(self.runs), "--store", str(self.store), *self.cache]

    def __call__(self, step: str, *words: str) -> int:
        return main([step, *words, *self.places])

    def start(self, step: str, kind: str, *words: str) -> int:
        data = ["--data", str(self.sources[kind])]
        return self(step, "--kind", kind, "--preset", "tiny", *data, *words)

    def lenient(self, kind: str) -> list[str]:
        return [
            word
            for metric, floor in case(kind).FLOORS.items()
            for word in ("--floor", f"{metric}={floor}")
        ]

    def run_folder(self, model: str) -> Path:
        (folder,) = (self.runs / model).iterdir()
        return folder


@pytest.fixture
def desk(tmp_path: Path, sources: dict[str, Path], cache_dir: Path) -> Desk:
    return Desk(tmp_path, sources, cache_dir)


def test_run_publishes_each_kind_and_gold_is_reproduced(desk: Desk) -> None:
    for kind in sorted(kinds()):  # the classifier first, which judges the GAN
        name = f"my-{kind}" if kind != "cnn" else "cifar10"
        assert desk.start("run", kind, "--model", name, *desk.lenient(kind)) == 0
        manifest = served_manifest(desk.store, name)
        assert manifest is not None
        assert (manifest.kind, manifest.training.preset) == (kind, "tiny")
        assert manifest.gate.passed
        assert manifest.data.examples
        assert manifest.training.config["fit"]["epochs"] == 2
        folder = desk.store / name / manifest.version
        assert decode_manifest((folder / "manifest.json").read_bytes()) == manifest
        served = manifest.served  # which one, the machine's speed decides
        with np.load(folder / served.golden_file) as golden:
            arrays = {key: golden[key] for key in golden}
        outputs = Session(folder / manifest.graph).run(
            {spec.name: arrays[f"input.{spec.name}"] for spec in manifest.inputs}
        )
        for output, allowed in served.golden.max_abs_error.items():
            difference = outputs[output].astype(float) - arrays[f"output.{output}"]
            assert np.abs(difference).max() <= allowed
        card = (folder / "card.md").read_text("utf-8")
        assert f"triptych-train run --kind {kind} --model {name} --preset tiny" in card
        assert "Energy, estimated" in card
        notes = kinds()[kind].about.metric_notes
        assert {metric.partition(".")[0] for metric in manifest.metrics} <= set(notes)
        assert (desk.run_folder(name) / "plots" / "report.md").exists()
        assert (desk.run_folder(name) / "curves.png").stat().st_size > 0
    data = [word for source in desk.sources.values() for word in ("--data", str(source))]
    reports = desk.store.parent / "reports"
    again = ["--store", str(desk.store), "--out", str(reports), *data, *desk.cache]
    assert main(["reproduce", *again]) == 0
    assert {path.parent.name for path in reports.glob("*/report.md")} == {
        path.name for path in desk.store.iterdir()
    }


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_precision_that_is_wanted_is_served(desk: Desk, precision: str) -> None:
    words = ["--precision", precision, *desk.lenient("lstm")]
    assert desk.start("run", "lstm", *words) == 0
    manifest = served_manifest(desk.store, "shakespeare")
    assert manifest is not None
    assert manifest.served.precision == precision
    assert (manifest.choice is not None) == (precision == "int8")
    card = (desk.store / "shakespeare" / manifest.version / "card.md").read_text("utf-8")
    assert ("## Precisions" in card) == (precision == "int8")
    assert manifest.metrics["val_loss_nats"] > 0
    if manifest.choice is not None:
        float32, int8 = manifest.variants
        assert int8.metrics["val_loss_nats"] == manifest.metrics["val_loss_nats"]
        assert float32.rows_per_s and int8.rows_per_s
        assert abs(manifest.choice.loss) <= manifest.choice.most_loss


def test_each_step_alone_leads_to_the_same_place(desk: Desk) -> None:
    assert desk.start("fit", "lstm", "--seed", "3") == 0
    for step in ("export", "verify", "quantise", "evaluate"):
        assert desk(step, "--kind", "lstm") == 0
    assert desk("gate", "--model", "shakespeare", *desk.lenient("lstm")) == 0
    assert desk("publish", "--run-dir", str(desk.run_folder("shakespeare"))) == 0
    manifest = served_manifest(desk.store, "shakespeare")
    assert manifest is not None
    assert manifest.training.seed == 3


def test_a_run_may_put_its_version_on_trial(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*desk.lenient("lstm"), "--canary", "5%", "--window", "60", "--requests", "7"]
    assert desk.start("run", "lstm", *words) == 0
    assert "there is no trial" in capsys.readouterr().out, "nothing was served before"
    store = Store(desk.store)
    first = store.current("shakespeare")
    costs = ["--allow-slower", "9", "--allow-worse", "val_loss_nats=9"]
    assert desk.start("run", "lstm", "--seed", "2", *costs, *words) == 0
    assert store.current("shakespeare") == first
    trial, _ = read_trial(store.home, "shakespeare")
    assert trial is not None
    assert (trial.share, trial.window_s, trial.least_requests) == (0.05, 60.0, 7)
    assert trial.against == first
    assert trial.version in store.versions("shakespeare")
    assert store.verified("shakespeare", trial.version).training.seed == 2
    runs = sorted((desk.runs / "shakespeare").iterdir())
    outcome = json.loads((runs[-1] / "outcome.json").read_text())
    assert (outcome["state"], outcome["version"]) == ("published", trial.version)
    assert desk.start("run", "lstm", *words, "--shadow", "1") == 2


def test_a_run_begins_with_the_weights_of_another_and_says_so(desk: Desk) -> None:
    assert desk.start("fit", "lstm") == 0
    first = desk.run_folder("shakespeare")
    words = ["--model", "tuned", "--start-from", str(first), "--set", "optimizer.lr=1e-9"]
    assert desk.start("run", "lstm", *words, *desk.lenient("lstm")) == 0
    manifest = served_manifest(desk.store, "tuned")
    assert manifest is not None
    assert manifest.training.started_from.startswith("weights ")
    assert "of preset tiny, 2 epochs in" in manifest.training.started_from
    card = (desk.store / "tuned" / manifest.version / "card.md").read_text("utf-8")
    assert manifest.training.started_from in card and "--start-from RUN" in card
    before, after = (
        torch.load(f / "best.pt", weights_only=True)["weights"]
        for f in (first, desk.run_folder("tuned"))
    )
    for name, weights in before.items():  # with next to no rate, they stay where they began
        torch.testing.assert_close(after[name], weights, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["cnn", "lstm"])
def test_a_run_begins_with_what_is_published_where_no_run_is_left(desk: Desk, kind: str) -> None:
    model = kinds()[kind].default_model
    lenient = [*desk.lenient(kind), "--precision", "float32"]
    assert desk.start("run", kind, *lenient) == 0
    shutil.rmtree(desk.runs)
    before = served_manifest(desk.store, model)
    assert before is not None
    named = [model, str(desk.store / model / before.version)]
    for tuned, start in zip(("tuned", "again"), named, strict=True):
        words = ["--model", tuned, "--start-from", start, "--set", "optimizer.lr=1e-9"]
        assert desk.start("run", kind, *words, *lenient) == 0
        manifest = served_manifest(desk.store, tuned)
        assert manifest is not None
        began = manifest.training.started_from
        assert began.startswith(f"published {model} {before.version} of preset tiny, 2 epochs in ")
        card = (desk.store / tuned / manifest.version / "card.md").read_text("utf-8")
        assert began in card and f"--start-from STORE/{model}/{before.version}" in card


def test_a_generator_begins_with_no_published_graph(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.start("run", "cnn", *desk.lenient("cnn")) == 0
    assert desk.start("fit", "gan", "--start-from", "cifar10") == 2
    assert "cifar10 is a published cnn" in capsys.readouterr().err


def fitted(run: Path, name: str) -> torch.Tensor:
    weights: torch.Tensor = torch.load(run / "best.pt", weights_only=True)["weights"][name]
    return weights


def exported(run: Path, name: str) -> NDArray[np.float32]:
    graph = onnx.load(run / "candidate" / "model.onnx").graph
    (tensor,) = (tensor for tensor in graph.initializer if tensor.name == name)
    return onnx.numpy_helper.to_array(tensor)


def test_a_share_of_the_starting_weights_is_exported(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.start("fit", "lstm", "--set", "fit.start_share=0.25") == 2
    assert "--start-from" in capsys.readouterr().err
    assert desk.start("fit", "lstm") == 0
    first = desk.run_folder("shakespeare")
    words = ["--model", "tuned", "--start-from", str(first), "--set", "fit.start_share=0.25"]
    assert desk.start("fit", "lstm", *words) == 0
    tuned = desk.run_folder("tuned")
    assert desk("export", "--run-dir", str(tuned)) == 0
    start, end = (fitted(folder, "embedding.weight") for folder in (first, tuned))
    expected = 0.25 * start + 0.75 * end
    np.testing.assert_allclose(exported(tuned, "embedding.weight"), expected, atol=1e-6)
    assert not torch.allclose(start, end, atol=1e-4)

    # Who starts from the mixture starts from what was exported.
    words = ["--model", "third", "--start-from", str(tuned)]
    assert desk.start("fit", "lstm", *words) == 0
    third = torch.load(desk.run_folder("third") / "start.pt", weights_only=True)["weights"]
    np.testing.assert_allclose(third["embedding.weight"], expected, atol=1e-6)
    record = json.loads((desk.run_folder("third") / "run.json").read_bytes())
    assert "mixed with a share of 0.25 of those that it began with" in record["started_from"]


def test_a_wider_network_begins_with_a_narrower_one_s_weights(desk: Desk) -> None:
    assert desk.start("fit", "cnn") == 0
    first = desk.run_folder("cifar10")
    words = ["--model", "wider", "--start-from", str(first), "--set", "network.widths=[32,48]"]
    assert desk.start("fit", "cnn", *words, "--set", "fit.start_share=0.5") == 0
    wider = desk.run_folder("wider")
    assert desk("export", "--run-dir", str(wider)) == 0
    start, end = (fitted(folder, "classifier.weight") for folder in (first, wider))
    grown = torch.nn.functional.pad(start, (0, end.shape[1] - start.shape[1]))
    expected = 0.5 * grown + 0.5 * end
    np.testing.assert_allclose(exported(wider, "classifier.weight"), expected, atol=1e-6)
    assert bool(end[:, start.shape[1] :].any()), "the new channels have found work"


def test_weights_of_another_network_are_no_start(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.start("fit", "lstm") == 0
    first = ["--start-from", str(desk.run_folder("shakespeare"))]
    for kind, words, message in (
        ("lstm", ["--set", "network.hidden=24"], "another network's weights"),
        ("cnn", [], "is a run of a lstm"),
    ):
        capsys.readouterr()
        assert desk.start("fit", kind, "--model", "other", *first, *words) == 2
        assert message in capsys.readouterr().err
    assert desk.start("fit", "lstm", "--model", "other", "--start-from", str(desk.runs)) == 2
    assert "holds no run" in capsys.readouterr().err
    assert not (desk.runs / "other").exists()


@pytest.mark.parametrize(
    ("step", "needs"),
    [
        ("evaluate", "fit"),
        ("export", "fit"),
        ("verify", "fit"),
        ("quantise", "fit"),
        ("gate", "fit"),
        ("publish", "fit"),
    ],
)
def test_a_step_before_its_time_names_the_one_before(
    desk: Desk, capsys: pytest.CaptureFixture[str], step: str, needs: str
) -> None:
    assert desk(step, "--kind", "lstm") == 2
    assert "start one with `fit` or `run`" in capsys.readouterr().err


def test_results_of_other_weights_are_refused(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.start("run", "lstm", *desk.lenient("lstm")) == 0
    folder = desk.run_folder("shakespeare")
    evaluation = folder / "evaluation.json"
    evaluation.write_text(
        evaluation.read_text().replace('"weights_sha256": "', '"weights_sha256": "0')
    )
    assert desk("gate", "--model", "shakespeare", *desk.lenient("lstm")) == 4
    assert "is of earlier weights; run `evaluate` again" in capsys.readouterr().err
    assert desk("evaluate", "--model", "shakespeare") == 0
    (folder / "candidate" / "model.onnx").write_bytes(b"something else")
    for step in ("evaluate", "gate", "publish"):
        assert desk(step, "--model", "shakespeare") == 4
        assert "was not verified" in capsys.readouterr().err


def test_figures_of_another_graph_are_refused(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.start("run", "lstm", *desk.lenient("lstm")) == 0
    path = desk.run_folder("shakespeare") / "evaluation.json"
    path.write_text(path.read_text().replace('"graph_sha256": "', '"graph_sha256": "0'))
    for step in ("gate", "publish"):
        assert desk(step, "--model", "shakespeare") == 4
        assert "was not evaluated; run `evaluate` again" in capsys.readouterr().err


def test_the_gate_refuses_with_a_code_of_its_own_and_nothing_is_published(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.start("run", "lstm", "--floor", "val_loss_nats=0.01") == 3
    complaint = capsys.readouterr().err
    assert "The gate refused" in complaint
    assert "val_loss_nats" in complaint
    assert "Traceback" not in complaint
    assert served_manifest(desk.store, "shakespeare") is None


def test_a_candidate_worse_than_the_served_version_is_refused(desk: Desk) -> None:
    assert desk.start("run", "lstm", "--set", "fit.epochs=8", *desk.lenient("lstm")) == 0
    before = served_manifest(desk.store, "shakespeare")
    worse = desk.start(
        "run", "lstm", "--set", "fit.epochs=1", "--set", "optimizer.lr=1e-6", *desk.lenient("lstm")
    )
    assert worse == 3
    assert served_manifest(desk.store, "shakespeare") == before


def test_a_retraining_is_compared_in_pairs_and_may_not_cost_much_more(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*desk.lenient("lstm"), "--precision", "float32", "--allow-slower", "20"]
    assert desk.start("run", "lstm", *words) == 0
    first = served_manifest(desk.store, "shakespeare")
    assert first is not None
    assert {check.test for check in first.gate.checks} == {""}
    capsys.readouterr()
    assert desk.start("run", "lstm", *words) == 0  # the same weights again
    assert "as good as the served version's" in capsys.readouterr().out
    again = served_manifest(desk.store, "shakespeare")
    assert again is not None and again.version != first.version
    loss, recited, slower, larger = again.gate.checks
    assert (loss.test, loss.p_value, loss.worse, loss.better) == ("paired bootstrap", 1.0, 0, 0)
    assert loss.served == first.metrics["val_loss_nats"] == loss.value
    assert (recited.test, recited.examples) == ("exact McNemar test", 100)
    assert (slower.metric, larger.metric) == ("time_ratio", "size_ratio")
    assert (larger.value, larger.floor) == (1.0, 2.0)
    card = (desk.store / "shakespeare" / again.version / "card.md").read_text("utf-8")
    assert "not surely worse than the" in card
    assert desk.start("run", "lstm", *words, "--allow-larger", "0.9") == 3
    assert "size_ratio = 1 refused: misses the ceiling 0.9 by 0.1" in capsys.readouterr().err
    assert desk.start("run", "lstm", *words, "--set", "network.hidden=64") == 3
    complaint = capsys.readouterr().err
    assert "size_ratio" in complaint and "--allow-larger" in complaint


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_a_dry_run_says_what_would_be_done_and_does_nothing(
    desk: Desk, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    assert desk.start("run", kind, "--dry-run", "--set", "fit.epochs=7") == 0
    said = capsys.readouterr().out
    for part in ("fit.epochs = 7", "parameters", "MMAC", "7 epochs of", "sha256", "nothing was"):
        assert part in said
    assert not desk.runs.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--kind", "cnn", "--set", "optimizer.lrr=1"], "did you mean 'optimizer.lr'?"),
        (
            ["--kind", "cnn", "--preset", "huge"],
            "it has softmax, textbook, fast, standard",
        ),
        (["--kind", "cnn", "--device", "tpu:0"], "device 'tpu:0'"),
        (["--kind", "cnn", "--device", "cuda:99"], "is not here"),
        (["--kind", "cnn", "--threads", "-1"], "--threads is -1"),
        (["--kind", "cnn", "--floor", "test_accuracy=high"], "must be METRIC=NUMBER"),
        (["--kind", "cnn", "--allow-worse", "test_accuracy"], "must be METRIC=NUMBER"),
        (["--kind", "cnn", "--allow-worse", "loss=1"], "--allow-worse: loss is not judged"),
        (["--kind", "cnn", "--floor", "loss=1"], "--floor: loss is not judged"),
        (["--kind", "cnn", "--allow-slower", "0"], "--allow-slower is 0; it must be above 0"),
        (["--model", "flowers"], "'flowers' is a new model; give its --kind as well"),
        ([], "say what to train"),
        (["--kind", "cnn", "--model", "No Such/Name"], "must be 1 to 64"),
    ],
)
def test_wrong_usage_is_one_message_and_code_2(
    desk: Desk, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    data = ["--data", str(desk.sources["cnn"])]
    assert desk("run", *words, *data) == 2
    complaint = capsys.readouterr().err
    assert message in complaint
    assert "Traceback" not in complaint
    assert not desk.runs.exists()


def test_missing_data_leave_no_run_behind(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk("run", "--kind", "cnn", "--data", str(desk.runs / "nowhere")) == 4
    assert "does not exist" in capsys.readouterr().err
    assert not desk.runs.exists()


def test_a_gan_without_a_judge_says_how_to_get_one(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.start("run", "gan") == 4
    assert "train one first (run --kind cnn), or name its version folder with --judge" in (
        capsys.readouterr().err
    )


def test_a_name_published_as_another_kind_is_refused(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.start("run", "lstm", "--model", "taken", *desk.lenient("lstm")) == 0
    assert desk.start("run", "cnn", "--model", "taken", *desk.lenient("cnn")) == 2
    assert "is published as a lstm" in capsys.readouterr().err


def test_a_resumed_run_keeps_its_configuration(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.start("fit", "lstm") == 0
    assert desk("fit", "--kind", "lstm", "--resume", "--seed", "9") == 2
    assert "leave --seed out" in capsys.readouterr().err
    assert desk("run", "--kind", "lstm", "--resume", *desk.lenient("lstm")) == 0
    folder = str(desk.run_folder("shakespeare"))
    assert desk.start("fit", "lstm", "--run-dir", folder) == 2
    assert "go on with it by --resume" in capsys.readouterr().err


def test_an_interrupted_run_prints_the_command_that_goes_on(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "long"
    command = [sys.executable, "-m", "training", "fit", "--kind", "lstm", "--preset", "tiny"]
    command += ["--data", str(desk.sources["lstm"]), "--set", "fit.epochs=2000"]
    command += ["--run-dir", str(folder), "--threads", "1", *desk.cache]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:  # the first epoch's line: it is under way
        if line.startswith("epoch"):
            process.send_signal(signal.SIGINT)
            break
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130, complaint
    assert "Traceback" not in complaint
    printed = complaint.strip().splitlines()[-1].removeprefix("to go on: ")
    words = shlex.split(printed)
    assert words[:3] == ["triptych-train", "fit", "--resume"]
    assert words[words.index("--run-dir") + 1] == str(folder)
    assert main([*words[1:], "--dry-run"]) == 0
    assert (folder / "checkpoint.pt").exists()
    assert json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])["epoch"] == 1


def test_presets_and_data_can_be_looked_at(
    desk: Desk, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["presets"]) == 0
    listed = capsys.readouterr().out
    for kind in kinds().values():
        for preset in kind.presets:
            assert f"{kind.name:<6}{preset}" in listed
    assert main(["presets", "--kind", "cnn", "--preset", "textbook"]) == 0
    assert "optimizer.lr = 0.01" in capsys.readouterr().out
    out = tmp_path / "look"
    words = ["--data", str(desk.sources["lstm"]), "--out", str(out), *desk.cache]
    assert main(["data", "describe", "--kind", "lstm", *words]) == 0
    assert list(out.glob("*.png"))
    assert main(["data", "fetch", "--kind", "lstm", *words]) == 0
    assert "sha256" in capsys.readouterr().out
