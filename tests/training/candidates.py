"""Candidates to publish: folders that are valid in everything but their graph's content."""

from __future__ import annotations

from pathlib import Path

from service.contract import (
    CARD_FILE,
    GOLDEN_FILE,
    GRAPH_FILE,
    SCHEMA_VERSION,
    DataRecord,
    Gate,
    GateCheck,
    Golden,
    Manifest,
    TensorSpec,
    TrainingRecord,
)
from training.publish import seal


def make_manifest(name: str = "insects", version: str = "v1", *, passed: bool = True) -> Manifest:
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        kind="cnn",
        version=version,
        created_at=f"2026-01-01T00:00:00Z {version}",
        description="Tells ants from bees.",
        inputs=(
            TensorSpec(name="image", dtype="uint8", shape=("N", 8, 8, 3), minimum=0, maximum=255),
        ),
        outputs=(TensorSpec(name="probability", dtype="float32", shape=("N", 2)),),
        labels=("ant", "bee"),
        files={},
        golden=Golden(rows=2, max_abs_error={"probability": 1e-5}),
        metrics={"test_accuracy": 0.9125, "test_ece": 0.0314},
        gate=Gate(
            passed=passed,
            checks=(
                GateCheck(
                    metric="test_accuracy",
                    value=0.9125,
                    goal="max",
                    floor=0.88,
                    served=0.91,
                    tolerance=0.005,
                    passed=passed,
                ),
            ),
        ),
        training=TrainingRecord(
            config={"fit": {"epochs": 3, "optimizer": {"lr": 0.1}}, "note": "a|b"},
            config_sha256="c" * 64,
            preset="tiny",
            seed=7,
            parameters=1234,
            duration_s=83.4,
            hardware="one core",
        ),
        data=DataRecord(
            name="insects", source="insects.zip", sha256="d" * 64, examples={"train": 27, "test": 3}
        ),
        code_revision="abc1234",
        libraries={"numpy": "2.4"},
    )


def make_candidate(
    folder: Path, name: str = "insects", version: str = "v1", *, passed: bool = True
) -> Path:
    folder.mkdir(parents=True)
    (folder / GRAPH_FILE).write_bytes(f"graph of {version}".encode() * 1000)
    (folder / GOLDEN_FILE).write_bytes(b"golden")
    (folder / CARD_FILE).write_text(f"# {name} {version}\n")
    (folder / "plot.png").write_bytes(b"plot")
    seal(folder, make_manifest(name, version, passed=passed))
    return folder
