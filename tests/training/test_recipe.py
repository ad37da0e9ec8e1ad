"""A model that is retrained without a preset is trained as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from service.contract import MANIFEST_FILE, Manifest
from tests.training.conformance import case
from training.cli import main
from training.kinds import kinds
from training.publish import served_manifest, version_folder
from training.runs import Run, run_folders

OTHER = ["--seed", "5", "--set", "fit.epochs=3"]


class Shop:
    """A store and runs, and the command line over them; the gate lets everything through."""

    def __init__(self, folder: Path, sources: dict[str, Path], cache_dir: Path) -> None:
        self.store, self.runs, self.sources = folder / "models", folder / "runs", sources
        self.places = ["--runs", str(self.runs), "--store", str(self.store)]
        self.places += ["--cache-dir", str(cache_dir)]

    def run(self, kind: str, *words: str) -> int:
        floors = [f"--floor={name}={value}" for name, value in case(kind).FLOORS.items()]
        worse = [f"--allow-worse={name}=100" for name in case(kind).FLOORS]
        data = ["--kind", kind, "--data", str(self.sources[kind])]
        slack = [*floors, *worse, "--allow-slower", "1000", "--allow-larger", "1000"]
        return main(["run", *data, *words, *slack, *self.places])

    def served(self, kind: str) -> Manifest:
        manifest = served_manifest(self.store, kinds()[kind].default_model)
        assert manifest is not None
        return manifest

    def newest(self, kind: str) -> Run:
        return Run.open(run_folders(self.runs, kinds()[kind].default_model)[-1])

    def count(self, kind: str) -> int:
        return len(run_folders(self.runs, kinds()[kind].default_model))


@pytest.fixture(scope="module")
def shop(
    tmp_path_factory: pytest.TempPathFactory, sources: dict[str, Path], cache_dir: Path
) -> Shop:
    """Each kind's model is served, and was trained for an epoch more than `tiny` says."""
    shop = Shop(tmp_path_factory.mktemp("shop"), sources, cache_dir)
    for kind in sorted(kinds()):
        assert shop.run(kind, "--preset", "tiny", *OTHER) == 0
    return shop


def test_a_new_model_has_the_standard_preset(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shop.run("lstm", "--dry-run", "--model", "hamlet") == 0
    said = capsys.readouterr().out
    assert "preset standard, into" in said and "which is served" not in said


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_a_served_one_has_its_own_settings(
    shop: Shop, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    version = shop.served(kind).version
    assert shop.run(kind, "--dry-run", "--set", "optimizer.lr=0.5") == 0
    said = capsys.readouterr().out
    assert f"as version {version}, which is served, of preset tiny; --preset takes" in said
    for setting in ("fit.seed = 5", "fit.epochs = 3", "optimizer.lr = 0.5"):
        assert f"  {setting}\n" in said


def test_a_preset_is_taken_as_it_is(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert shop.run("lstm", "--dry-run", "--preset", "tiny") == 0
    said = capsys.readouterr().out
    epochs = kinds()["lstm"].presets["tiny"].fit.epochs
    assert f"  fit.epochs = {epochs}\n" in said and "which is served" not in said


def test_what_began_with_weights_and_was_taught_goes_on_from_itself(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    taught = ["--teacher", "cifar10", "--set", "distillation.weight=0.5"]
    first = shop.served("cnn").version
    begun = ["--preset", "tiny", *OTHER, "--start-from", str(shop.newest("cnn").folder)]
    assert shop.run("cnn", *begun, *taught) == 0
    second = shop.served("cnn")
    assert second.training.taught_by == f"cifar10 {first}"
    capsys.readouterr()
    assert shop.run("cnn") == 0
    assert (
        f"as version {second.version}, which is served, of preset tiny, begun with the weights of "
        "cifar10, taught by cifar10; --preset takes another recipe\n"
    ) in capsys.readouterr().out
    third = shop.served("cnn")
    assert third.training.taught_by == f"cifar10 {second.version}"
    assert third.training.started_from.startswith(f"published cifar10 {second.version} of preset")
    assert third.training.config == second.training.config


def test_what_is_named_stands(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(shop.newest("cnn").folder)
    assert shop.run("cnn", "--dry-run", "--start-from", run, "--set", "distillation.weight=0") == 0
    said = capsys.readouterr().out
    assert f"begun with the weights of {run}; --preset" in said


def test_one_that_was_broken_off_goes_on(shop: Shop) -> None:
    before = shop.count("lstm")
    asked = ["--kind", "lstm", "--data", str(shop.sources["lstm"]), "--set", "fit.epochs=2"]
    assert main(["fit", *asked, *shop.places]) == 0
    assert shop.run("lstm", "--resume", "auto", "--set", "fit.epochs=2") == 0
    assert shop.count("lstm") == before + 1
    assert shop.served("lstm").training.config["fit"]["epochs"] == 2


def test_a_generator_that_began_with_another_wants_a_run(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["--start-from", str(shop.newest("gan").folder)]
    assert shop.run("gan", "--preset", "tiny", *OTHER, *start) == 0
    before = shop.count("gan")
    assert shop.run("gan") == 2
    error = capsys.readouterr().err
    assert "a gan cannot begin with a published graph" in error and "--start-from" in error
    assert shop.count("gan") == before
    assert shop.run("gan", *start) == 0


def test_settings_of_another_release_are_told(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = version_folder(shop.store, "shakespeare")
    assert folder is not None
    path = folder / MANIFEST_FILE
    manifest = json.loads(path.read_bytes())
    manifest["training"]["config"]["fit"]["warp"] = 9
    path.write_text(json.dumps(manifest))
    assert shop.run("lstm", "--dry-run") == 2
    error = capsys.readouterr().err
    assert "has settings of another release" in error and "fit.warp" in error
    assert "name a --preset" in error
    assert shop.run("lstm", "--dry-run", "--preset", "tiny") == 0


def test_a_long_line_of_retrainings_is_not_told_to_its_end(shop: Shop) -> None:
    folder = version_folder(shop.store, "cifar10")
    assert folder is not None
    path = folder / MANIFEST_FILE
    manifest = json.loads(path.read_bytes())
    line = ", itself begun with: ".join(f"weights {number}" for number in range(9))
    manifest["training"]["started_from"] = line
    path.write_text(json.dumps(manifest))
    asked = ["--kind", "cnn", "--data", str(shop.sources["cnn"]), "--set", "fit.epochs=1"]
    assert main(["fit", *asked, *shop.places]) == 0
    told = shop.newest("cnn").record.started_from.split(", itself begun with: ")
    assert told[0].startswith(f"published cifar10 {folder.name} of preset tiny, ")
    assert told[1:] == [*(f"weights {number}" for number in range(5)), "others"]
