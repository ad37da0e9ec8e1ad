"""Two processes that fit together, started by torchrun as a user starts them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.synthetic import write_images, write_text
from tests.training.two_ranks import CASES, prepare
from training.journal import read_metrics
from training.lock import alone
from training.loop import BEST_FILE, CHECKPOINT_FILE, fit

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
# Two processes that each load torch, on machines that may be at work on other things.
pytestmark = pytest.mark.timeout(900)
TOLERANCE = 1e-4  # of a loss: the two halves of a batch are summed in another order


def torchrun(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.run(
        [*command, "--nproc-per-node", "2", *words],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which two processes have fitted every case; see tests/training/two_ranks.py."""
    folder = tmp_path_factory.mktemp("ranks")
    write_text(folder / "text.txt")
    write_images(folder / "images")
    began = time.monotonic()
    result = torchrun(str(ROOT / "tests" / "training" / "two_ranks.py"), str(folder))
    # Rank 1 dies at the end; torchrun must not leave rank 0 waiting for it (30 minutes, by gloo).
    assert "exitcode  : 3" in result.stderr, result.stdout + result.stderr
    assert result.returncode != 0
    assert time.monotonic() - began < 590
    return folder


@pytest.mark.parametrize("case", sorted(CASES))
def test_every_rank_ends_with_the_same_weights(two_ranks: Path, case: str) -> None:
    first, second = (
        torch.load(two_ranks / f"{case}-rank{rank}.pt", weights_only=True) for rank in (0, 1)
    )
    for name, weights in first.items():
        for key, value in weights.items():
            if "running_" in key:
                continue  # batch norm's statistics: rank 0's are the ones kept
            assert torch.equal(value, second[name][key]), (name, key)


@pytest.mark.parametrize("case", ["lstm", "cnn", "pruned"])
def test_two_ranks_follow_the_curve_of_one_process_at_the_same_batch(
    two_ranks: Path, case: str, tmp_path: Path
) -> None:
    family, config, data = prepare(case, two_ranks, tmp_path / "cache")
    fit(family.task(config, data, CPU), config, tmp_path / "alone", CPU)
    alone, together = read_metrics(tmp_path / "alone"), read_metrics(two_ranks / case)
    assert [line["step"] for line in together] == [line["step"] for line in alone]
    for one, two in zip(alone, together, strict=True):
        assert two["train_loss"] == pytest.approx(one["train_loss"], rel=TOLERANCE)
        metric = next(key for key in one if key.endswith("_loss_nats"))
        assert two[metric] == pytest.approx(one[metric], rel=TOLERANCE)
    assert alone[0]["train_loss"] - alone[-1]["train_loss"] > 100 * TOLERANCE  # it did learn


@pytest.mark.parametrize("case", sorted(CASES))
def test_rank_0_alone_writes_and_once(two_ranks: Path, case: str) -> None:
    epochs = [line["epoch"] for line in read_metrics(two_ranks / case)]
    assert epochs == list(range(1, len(epochs) + 1))
    assert (two_ranks / case / BEST_FILE).exists()
    assert len(list((two_ranks / case / "tensorboard").iterdir())) == 1


def test_one_ranks_interrupt_stops_all_at_one_step_and_a_resumed_run_ends_alike(
    two_ranks: Path,
) -> None:
    whole, resumed = (
        torch.load(two_ranks / name / CHECKPOINT_FILE, weights_only=True)
        for name in ("lstm", "resumed")
    )
    assert resumed["progress"]["step"] == whole["progress"]["step"]
    for key, value in whole["modules"]["network"].items():
        assert torch.equal(value, resumed["modules"]["network"][key]), key


def test_torchrun_of_the_command_line_publishes_once(two_ranks: Path, tmp_path: Path) -> None:
    result = torchrun(
        *("-m", "training", "run", "--kind", "lstm", "--preset", "tiny"),
        *("--data", str(two_ranks / "text.txt"), "--cache-dir", str(tmp_path / "cache")),
        *("--runs", str(tmp_path / "runs"), "--store", str(tmp_path / "models")),
        *("--floor", "val_loss_nats=100", "--floor", "sample_recited_share=1"),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("published") == 1
    assert len(list((tmp_path / "runs" / "shakespeare").iterdir())) == 1
    (manifest,) = (tmp_path / "models" / "shakespeare").glob("*/manifest.json")
    assert "in each of 2 processes" in manifest.read_text("utf-8")


def test_torchrun_beside_another_run_ends_at_once_and_does_nothing(
    two_ranks: Path, tmp_path: Path
) -> None:
    with alone(tmp_path / "runs" / "shakespeare", "a run of shakespeare"):
        result = torchrun(
            *("-m", "training", "run", "--kind", "lstm", "--preset", "tiny"),
            *("--data", str(two_ranks / "text.txt"), "--cache-dir", str(tmp_path / "cache")),
            *("--runs", str(tmp_path / "runs"), "--store", str(tmp_path / "models")),
        )
    assert result.returncode != 0
    assert f"is under way already: process {os.getpid()} on " in result.stderr
    assert "exitcode  : 5" in result.stderr
    assert not list(tmp_path.rglob("run.json"))
