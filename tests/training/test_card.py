"""The model card says what the manifest says."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from service.contract import GRAPH_FILE, GateCheck, digest_file
from tests.training.candidates import make_manifest
from training.card import MAX_FIGURES_BYTES, Figure, Sample, write_card
from training.errors import PublishError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / GRAPH_FILE).write_bytes(b"graph")
    (tmp_path / "confusion.png").write_bytes(b"png")
    return tmp_path


def card(folder: Path, **changes: object) -> str:
    arguments: dict[str, object] = {
        "command": "triptych-train run --model insects --preset tiny --seed 7",
        "intended_use": "Counting insects.",
        "limits": ["Spiders are taken for ants.", "Small pictures only."],
    }
    path = write_card(folder, make_manifest(), **(arguments | changes))  # type: ignore[arg-type]
    return path.read_text(encoding="utf-8")


def test_every_fact_is_there(folder: Path) -> None:
    text = card(
        folder,
        figures=[Figure("confusion.png", "Confusion matrix")],
        samples=[Sample("Temperature 0.8", "To be```or not\n")],
        metric_notes={"test_ece": "Expected calibration error"},
    )
    assert text.startswith("# insects\n\nTells ants from bees.\n")
    for fact in (
        "| Version | v1 |",
        f"sha256 `{digest_file(folder / GRAPH_FILE).sha256}`",
        "## Intended use\n\nCounting insects.",
        "- Spiders are taken for ants.\n- Small pictures only.",
        "| `test_accuracy` | 0.9125 | "
        "≥ 0.88 and at most 0.005 worse than the 0.91 served before (met) |  |",
        "| `test_ece` | 0.0314 |  | Expected calibration error |",
        "The gate **passed** this version.",
        "![Confusion matrix](confusion.png)",
        "````\nTo be```or not\n````",
        "| input | `image` | uint8 | [N, 8, 8, 3] | 0 to 255 |  |",
        "Classes: 0 ant, 1 bee.",
        f"sha256 `{'d' * 64}`",
        "| Examples, train | 27 |",
        "| Licence | not stated: brought by whoever trained this model |",
        "| Seed | 7 |",
        "| Hardware | one core |",
        "| Training time | 1 min 23 s |",
        "| `fit.optimizer.lr` | `0.1` |",
        "| `note` | `a\\|b` |",
        "```sh\ntriptych-train run --model insects --preset tiny --seed 7\n```",
    ):
        assert fact in text


def test_sections_without_content_are_left_out(folder: Path) -> None:
    text = card(folder)
    assert "## Plots" not in text
    assert "## Samples" not in text


def test_the_vocabulary_of_a_text_model(folder: Path) -> None:
    manifest = msgspec.structs.replace(make_manifest(), vocabulary="\n ab", labels=())
    text = write_card(folder, manifest, command="x", intended_use="x", limits=["x"]).read_text()
    assert "Vocabulary of 4 characters, in index order:\n\n```\n'\\n ab'\n```" in text
    assert "Classes:" not in text


def test_a_metric_that_the_gate_missed_is_shown_as_missed(folder: Path) -> None:
    manifest = make_manifest(passed=False)
    gone = GateCheck(metric="gone", value=float("nan"), goal="min", floor=1.0, passed=False)
    gate = msgspec.structs.replace(manifest.gate, checks=(*manifest.gate.checks, gone))
    manifest = msgspec.structs.replace(manifest, gate=gate)
    text = write_card(folder, manifest, command="x", intended_use="x", limits=["x"]).read_text()
    assert "served before (**missed**)" in text
    assert "| `gone` | not measured | ≤ 1 (**missed**) |" in text
    assert "The gate **refused** this version." in text


def test_missing_and_oversized_plots_are_refused(folder: Path) -> None:
    with pytest.raises(PublishError, match=r"lacks the card's plots: lost.png"):
        card(folder, figures=[Figure("lost.png", "Lost")])
    (folder / "huge.png").write_bytes(b"x" * (MAX_FIGURES_BYTES + 1))
    with pytest.raises(PublishError, match="draw fewer or smaller"):
        card(folder, figures=[Figure("huge.png", "Huge")])
