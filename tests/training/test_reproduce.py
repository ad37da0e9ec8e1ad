"""What was published is measured again; what does not come out the same is named."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.training.reproducing import reproduce
from training.errors import ReproductionError
from training.reproduce import ABSOLUTE, check, compare, format_comparisons


def alter(version: Path, **metrics: float) -> None:
    path = version / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["metrics"] |= metrics
    path.write_text(json.dumps(manifest))


def test_a_published_model_is_reproduced_from_its_files_alone(
    version: Path,
    sources: dict[str, Path],
    cache_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = version.parent.parent.parent / "run"
    run.rename(run.with_name("gone"))
    assert reproduce(version, sources["lstm"].parent, cache_dir) == 0
    said = capsys.readouterr().out
    metrics = json.loads((version / "manifest.json").read_text())["metrics"]
    for metric in metrics:
        assert f"  {metric} " in said
    assert "NO" not in said
    assert "models" in said.splitlines()[-1]
    assert list((run.parent / "reports").glob("*/report.md"))


def test_a_figure_that_was_made_up_is_named_and_fails(
    version: Path,
    sources: dict[str, Path],
    cache_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    alter(version, val_loss_nats=1.0, never_measured=3.0)
    assert reproduce(version, sources["lstm"], cache_dir) == 4
    complaint = capsys.readouterr().err
    assert "val_loss_nats is " in complaint
    assert "published is 1" in complaint
    assert "never_measured is -, published is 3" in complaint


def test_figures_of_a_baseline_that_is_not_here_are_left_out_and_said_to_be(
    version: Path,
    sources: dict[str, Path],
    cache_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    alter(version, baseline_class_agreement=0.5)
    assert reproduce(version, sources["lstm"], cache_dir) == 0
    said = capsys.readouterr().out
    assert "its baseline is not published here, and not compared" in said
    assert "  baseline_class_agreement " not in said


def test_other_files_than_those_published_are_refused(
    version: Path,
    sources: dict[str, Path],
    cache_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert reproduce(version, tmp_path / "models", cache_dir) == 4
    assert "are not here; looked in" in capsys.readouterr().err
    assert reproduce(version, sources["lstm"], cache_dir, "--model", "unheard-of") == 2
    assert "holds no model 'unheard-of'" in capsys.readouterr().err
    (version / "model.onnx").write_bytes(b"another graph")
    assert reproduce(version, sources["lstm"], cache_dir) == 4
    assert "is not the file that was published" in capsys.readouterr().err


def test_tolerances_are_the_kinds_first_then_everyones() -> None:
    published = {"loss": 1.0, "accuracy.cat": 0.9, "accuracy": 0.9, "epsilon": 8.0}
    measured = {"loss": 1.02, "accuracy.cat": 0.93, "accuracy": 0.93, "new": 5.0}
    found = {one.metric: one for one in compare(published, measured, {"accuracy.*": 0.05})}
    assert not found["loss"].same
    assert found["accuracy.cat"].same
    assert not found["accuracy"].same
    assert found["epsilon"].same
    assert found["new"].same
    assert found["accuracy"].tolerance == pytest.approx(ABSOLUTE + 0.005 * 0.9)
    with pytest.raises(ReproductionError, match=r"m: loss is 1\.02, published is 1"):
        check({"m": list(found.values())})
    table = format_comparisons(found.values()).splitlines()
    assert sum(line.endswith("NO") for line in table) == 2


def test_what_was_no_number_must_stay_none() -> None:
    (same,) = compare({"loss": math.nan}, {"loss": math.nan}, {})
    (other,) = compare({"loss": math.nan}, {"loss": 1.0}, {})
    (lost,) = compare({"loss": 1.0}, {"loss": math.nan}, {})
    assert [same.same, other.same, lost.same] == [True, False, False]
