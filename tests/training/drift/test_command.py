"""`data check`, `--new-data` and `drift`, from the command line to exit codes and files."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from service.feedback.columns import chosen_columns
from service.feedback.shelf import FolderShelf
from service.images import FEATURES, image_features
from tests.training.conformance import case
from tests.training.reproducing import reproduce
from training.cli import main
from training.data.images import load_images
from training.kinds import kinds
from training.publish import served_manifest
from training.runs import RUN_FILE


def images_like(source: Path, folder: Path, *, light: float = 1.0, seed: int = 1) -> Path:
    """Other noise on the training images of a folder, brighter or darker."""
    rng = np.random.default_rng(seed)
    for path in sorted((source / "train").rglob("*.png")):
        with Image.open(path) as image:
            pixels = np.asarray(ImageEnhance.Brightness(image).enhance(light)).astype(float)
        changed = (pixels + rng.normal(0, 3, pixels.shape)).clip(0, 255).astype(np.uint8)
        target = folder / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(changed).save(target)
    return folder


def text_like(source: Path, folder: Path) -> Path:
    """The training text's lines in another order."""
    lines = source.read_text("utf-8").splitlines()[: len(source.read_text("utf-8")) // 50]
    random.Random(1).shuffle(lines)
    folder.mkdir()
    (folder / "more.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def check(kind: str, new: Path, against: Path, out: Path, cache_dir: Path, *more: str) -> int:
    words = ["--kind", kind, "--data", str(new), "--against", str(against), "--out", str(out)]
    return main(["data", "check", *words, "--cache-dir", str(cache_dir), *more])


def test_a_check_that_passes(
    sources: dict[str, Path], cache_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = images_like(sources["cnn"], tmp_path / "drop")
    assert check("cnn", new, sources["cnn"], tmp_path / "out", cache_dir) == 0
    said = capsys.readouterr().out
    assert "drop against images: fine (80)" in said
    assert "brightness" in said
    found = json.loads((tmp_path / "out" / "data-check.json").read_text())
    assert found["verdict"] == "fine"
    assert {one["feature"] for one in found["drift"]} == {*FEATURES, "class"}
    page = (tmp_path / "out" / "data-check.md").read_text("utf-8")
    for plot in ("psi.png", "features.png", "class.png"):
        assert f"({plot})" in page
        assert (tmp_path / "out" / plot).stat().st_size > 0


def test_a_check_that_refuses_says_by_how_much(
    sources: dict[str, Path], cache_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = images_like(sources["cnn"], tmp_path / "drop", light=0.4)
    (new / "unicorn").mkdir()
    shutil.copy(next((new / "cat").iterdir()), new / "unicorn")
    assert check("cnn", new, sources["cnn"], tmp_path / "out", cache_dir) == 3
    said = capsys.readouterr().err
    assert "brightness: PSI" in said
    assert "'unicorn' (1 images) is not known" in said
    assert json.loads((tmp_path / "out" / "data-check.json").read_text())["verdict"] == "refused"
    shutil.rmtree(new / "unicorn")
    loose = ("--psi-refuse", "100")
    assert check("cnn", new, sources["cnn"], tmp_path / "out", cache_dir, *loose) == 0


def test_a_check_of_what_cannot_be_read(
    sources: dict[str, Path], cache_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "drop" / "cat").mkdir(parents=True)
    (tmp_path / "drop" / "cat" / "1.png").write_bytes(b"no image")
    assert check("cnn", tmp_path / "drop", sources["cnn"], tmp_path / "out", cache_dir) == 4
    assert "cat/1.png" in capsys.readouterr().err
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "latin.txt").write_bytes(b"caf\xe9")
    assert check("lstm", tmp_path / "texts", sources["lstm"], tmp_path / "out", cache_dir) == 4
    assert "is not UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("--psi-note", "-1"),
        ("--psi-refuse", "0.01"),
        ("--significance", "1"),
        ("--share-ratio", "0"),
    ],
)
def test_limits_that_cannot_be(
    sources: dict[str, Path], cache_dir: Path, tmp_path: Path, words: Sequence[str]
) -> None:
    assert check("cnn", tmp_path, sources["cnn"], tmp_path / "out", cache_dir, *words) == 2


def start(tmp_path: Path, cache_dir: Path, kind: str, data: Path, *words: str) -> list[str]:
    floors = [f"{metric}={floor}" for metric, floor in case(kind).FLOORS.items()]
    return [
        *("run", "--kind", kind, "--preset", "tiny", "--data", str(data)),
        *("--precision", "float32", "--runs", str(tmp_path / "runs")),
        *("--store", str(tmp_path / "models"), "--cache-dir", str(cache_dir)),
        *(word for floor in floors for word in ("--floor", floor)),
        *words,
    ]


@pytest.mark.parametrize("kind", ["cnn", "lstm"])
def test_new_data_are_trained_on_and_named_by_the_version(
    sources: dict[str, Path],
    cache_dir: Path,
    tmp_path: Path,
    kind: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    like = images_like if kind == "cnn" else text_like
    new = like(sources[kind], tmp_path / "drop")
    if kind == "cnn":  # an image that is in the test split already
        shutil.copy(sources["cnn"] / "test" / "cat" / "0.png", new / "cat" / "leak.png")
    assert main(start(tmp_path, cache_dir, kind, sources[kind], "--new-data", str(new))) == 0
    said = capsys.readouterr().out
    name = kinds()[kind].default_model
    manifest = served_manifest(tmp_path / "models", name)
    assert manifest is not None
    base, added = manifest.data.parts
    assert added.source == "drop"
    assert base.source == manifest.data.source
    examples = manifest.data.examples
    held_out = "test" if kind == "cnn" else "val"
    assert examples[held_out] == base.examples[held_out]
    assert examples["train"] >= base.examples["train"] + added.examples["train"]
    assert manifest.data.sha256 not in (base.sha256, added.sha256)
    if kind == "cnn":
        assert added.examples == {"train": 80}
        assert "80 join the training split; 1 are held out" in said
    (run,) = (tmp_path / "runs" / name).iterdir()
    assert (run / "data-check" / "data-check.md").exists()
    card = (tmp_path / "models" / name / manifest.version / "card.md").read_text("utf-8")
    assert "--new-data drop" in card
    assert "Joined: drop" in card
    # Files that come later are the next run's.
    like(sources[kind], tmp_path / "later")
    shutil.rmtree(new)
    version = tmp_path / "models" / name / manifest.version
    assert reproduce(version, sources[kind], cache_dir, "--data", str(run / "new-data")) == 0


def test_new_data_that_do_not_fit_leave_no_run(
    sources: dict[str, Path], cache_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = images_like(sources["cnn"], tmp_path / "drop", light=0.4)
    words = start(tmp_path, cache_dir, "cnn", sources["cnn"], "--new-data", str(new))
    assert main(words) == 3
    assert "brightness: PSI" in capsys.readouterr().err
    assert list(tmp_path.rglob(RUN_FILE)) == []
    assert main([*words, "--psi-refuse", "100", "--dry-run"]) == 0
    assert "160 train" in capsys.readouterr().out
    assert list(tmp_path.rglob(RUN_FILE)) == []


def test_a_run_goes_on_with_the_copy_that_it_keeps(
    sources: dict[str, Path], cache_dir: Path, tmp_path: Path
) -> None:
    new = text_like(sources["lstm"], tmp_path / "drop")
    places = ["--runs", str(tmp_path / "runs"), "--store", str(tmp_path / "models")]
    places += ["--cache-dir", str(cache_dir)]
    words = ["--kind", "lstm", "--preset", "tiny", "--data", str(sources["lstm"])]
    assert main(["fit", *words, "--new-data", str(new), *places]) == 0
    shutil.rmtree(new)
    assert main(["fit", "--model", "shakespeare", "--resume", *places]) == 0
    other = ["--resume", "--new-data", str(new)]
    assert main(["fit", "--model", "shakespeare", *other, *places]) == 2
    (run,) = (tmp_path / "runs" / "shakespeare").iterdir()
    fitted = json.loads((run / "fit.json").read_text())["result"]
    assert [part["source"] for part in fitted["data"]["parts"]] == ["text.txt", "drop"]


def feedback(
    folder: Path, model: str, rows: Sequence[dict[str, Any]], *, fields: str = "", days_ago: int = 0
) -> Path:
    day = (datetime.now(UTC) - timedelta(days=days_ago)).date()
    FolderShelf(folder, chosen_columns(fields)).write(model, day, rows)
    return folder


def rows_like(source: Path, cache_dir: Path, *, light: float = 1.0) -> list[dict[str, Any]]:
    """What feedback would keep if the training images came to be classified."""
    data = load_images(str(source), cache_dir=cache_dir)
    images = (data.train.images * light).astype(np.uint8)
    features = image_features(images)
    return [
        {
            "label": data.classes[label],
            "score": 0.9,
            "version": "1",
            **{name: float(value_N[row]) for name, value_N in features.items()},
        }
        for row, label in enumerate(data.train.labels.tolist())
    ]


@pytest.fixture(scope="module")
def published(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Data of the kinds under the names that the tiny store's manifests give."""
    folder = tmp_path_factory.mktemp("published")
    return {"store": tiny_store} | {
        kind: case(kind).write_data(folder / kind) for kind in ("cnn", "lstm", "gan")
    }


def drift(published: dict[str, Path], cache: Path, folder: Path, model: str, *words: str) -> int:
    kind = {"cifar10": "cnn", "shakespeare": "lstm", "cifar10-gan": "gan"}[model]
    return main(
        [
            *("drift", "--feedback", str(folder), "--model", model),
            *("--store", str(published["store"]), "--data", str(published[kind])),
            *("--out", str(folder.parent / "report"), "--cache-dir", str(cache), *words),
        ]
    )


def test_traffic_like_the_training_data_is_no_drift(
    published: dict[str, Path], cache_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = rows_like(published["cnn"], cache_dir)
    feedback(tmp_path / "kept", "cifar10", rows, days_ago=1)
    feedback(tmp_path / "kept", "cifar10", rows)
    assert drift(published, cache_dir, tmp_path / "kept", "cifar10") == 0
    assert "160 rows" in capsys.readouterr().out
    found = json.loads((tmp_path / "report" / "drift.json").read_text())
    assert found["drifted"] == []
    assert found["rows_by_version"] == {"1": 160}
    assert [(day["rows"], round(day["score_median"], 3)) for day in found["days"]] == [
        (80, 0.9)
    ] * 2
    assert {one["feature"] for one in found["drift"]} == {*FEATURES, "class"}
    page = (tmp_path / "report" / "drift.md").read_text("utf-8")
    for plot in ("psi.png", "features.png", "class.png", "days.png"):
        assert f"({plot})" in page
        assert (tmp_path / "report" / plot).stat().st_size > 0


def test_darker_traffic_is_drift_and_only_in_its_days(
    published: dict[str, Path], cache_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    feedback(kept, "cifar10", rows_like(published["cnn"], cache_dir, light=0.4), days_ago=9)
    assert drift(published, cache_dir, kept, "cifar10") == 3
    assert "brightness: PSI" in capsys.readouterr().err
    page = (tmp_path / "report" / "drift.md").read_text("utf-8")
    assert "What has drifted" in page
    feedback(kept, "cifar10", rows_like(published["cnn"], cache_dir))
    assert drift(published, cache_dir, kept, "cifar10", "--days", "5") == 0
    assert drift(published, cache_dir, kept, "cifar10", "--days", "0") == 2


def test_a_class_that_takes_over_is_drift(
    published: dict[str, Path], cache_dir: Path, tmp_path: Path
) -> None:
    rows = [{"label": "cat"}] * 200
    kept = feedback(tmp_path / "kept", "cifar10-gan", rows, fields="label")
    assert drift(published, cache_dir, kept, "cifar10-gan") == 3
    found = json.loads((tmp_path / "report" / "drift.json").read_text())
    assert [one["feature"] for one in found["drift"]] == ["class"]


def test_prompts_are_compared_by_their_characters(
    published: dict[str, Path], cache_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = published["lstm"].read_text("utf-8")
    alike = [{"prompt": line, "prompt_chars": len(line)} for line in text.splitlines()[1:]]
    kept = feedback(tmp_path / "alike", "shakespeare", alike, fields="prompt")
    assert drift(published, cache_dir, kept, "shakespeare") == 0
    other = [{"prompt": "%%% 123 $$$"}] * 100
    kept = feedback(tmp_path / "other", "shakespeare", other, fields="prompt")
    assert drift(published, cache_dir, kept, "shakespeare") == 3
    capsys.readouterr()
    kept = feedback(tmp_path / "private", "shakespeare", alike)
    assert drift(published, cache_dir, kept, "shakespeare") == 4
    assert "TRIPTYCH_FEEDBACK_FIELDS" in capsys.readouterr().err


def test_a_few_rows_are_not_judged(
    published: dict[str, Path], cache_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = rows_like(published["cnn"], cache_dir, light=0.4)[::4]
    kept = feedback(tmp_path / "kept", "cifar10", rows)
    assert drift(published, cache_dir, kept, "cifar10") == 0
    assert "20 rows are too few to judge" in capsys.readouterr().out


def test_feedback_that_is_not_there_or_damaged(
    published: dict[str, Path], cache_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert drift(published, cache_dir, tmp_path / "kept", "cifar10") == 4
    assert "holds no feedback of 'cifar10'" in capsys.readouterr().err
    kept = feedback(tmp_path / "kept", "cifar10", [{"label": "cat"}], days_ago=3)
    assert drift(published, cache_dir, kept, "cifar10", "--days", "2") == 4
    assert "no feedback of the last 2 days" in capsys.readouterr().err
    (path,) = kept.rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:50])
    assert drift(published, cache_dir, kept, "cifar10") == 4
    assert "is damaged" in capsys.readouterr().err


def test_files_of_other_fields_are_read_together(
    published: dict[str, Path], cache_dir: Path, tmp_path: Path
) -> None:
    rows = rows_like(published["cnn"], cache_dir)
    kept = feedback(tmp_path / "kept", "cifar10", rows, fields="label,score", days_ago=1)
    feedback(kept, "cifar10", rows, fields="label,brightness")
    assert drift(published, cache_dir, kept, "cifar10") == 0
    found = json.loads((tmp_path / "report" / "drift.json").read_text())
    assert {one["feature"] for one in found["drift"]} == {"brightness", "class"}
    assert [day["score_median"] is None for day in found["days"]] == [False, True]
