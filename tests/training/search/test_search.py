"""Searches: of a made-up kind whose figure is a formula, and by the command line of a real one."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import optuna
import pytest
import torch
from optuna.trial import TrialState
from torch import nn

from training.cli import main
from training.config import FitConfig, KindConfig, OptimizerConfig, override
from training.errors import ConfigError, InterruptedFitError
from training.kinds import kinds
from training.kinds.base import Kind
from training.search.goal import Goal, make_goal
from training.search.report import write_report
from training.search.space import Real
from training.search.study import Worker, hide_password, open_study
from training.tasks.base import Batch, Losses, Phase, Task

ROOT = Path(__file__).resolve().parents[3]
CPU = torch.device("cpu")
BEST_LR = 0.5


class Valley(Task):
    """A fit whose validation figure falls with every epoch, and is least where lr is 0.5."""

    served = "network"
    monitor = ("val_loss", "min")
    steps_per_epoch = 1
    interrupts = judged = False

    def __init__(self, config: KindConfig) -> None:
        self.network = nn.Linear(1, 1)
        self.modules = {"network": self.network}
        self.distance = abs(config.optimizer.lr - BEST_LR)
        self.phases = (Phase("train", self.network, self.loss, OptimizerConfig(lr=1e-3)),)

    def batch(self, epoch: int, step: int) -> Batch:
        if Valley.interrupts:
            signal.raise_signal(signal.SIGINT)
        return {"x": torch.ones(2, 1)}

    def loss(self, batch: Batch) -> Losses:
        return self.network(batch["x"]).square().mean(), {}

    def validate(self, network: nn.Module, folder: Path, epoch: int) -> dict[str, float]:
        figures = {"val_loss": self.distance + 1 / epoch}
        return figures | {"judged": self.distance + epoch} if self.judged else figures


class Country:
    """As much of a kind as a search asks for."""

    name = "valley"
    searched_by: tuple[str, str] | None = None

    def task(self, config: KindConfig, data: object, device: torch.device) -> Valley:
        return Valley(config)

    def hold_out(self, config: KindConfig, data: object) -> tuple[KindConfig, object]:
        return config, data

    def record(self, data: object) -> Any:
        return type("Record", (), {"sha256": "0"})

    def attend(self, task: Valley, config: KindConfig, data: object, partner: Path) -> None:
        task.judged = True


@pytest.fixture
def goal() -> Goal:
    config = KindConfig(fit=FitConfig(epochs=3, batch_size=2, precision="float32"))
    kind = cast("Kind[Any, Any]", Country())
    return make_goal(kind, "flat", config, None, (Real("optimizer.lr", 0.01, 1.0),))


def start(folder: Path, goal: Goal, name: str = "study") -> tuple[optuna.Study, Worker]:
    study = open_study(f"sqlite:///{folder / 'studies.db'}", name, goal, seed=1)
    return study, Worker(study, goal, folder / name, CPU)


def states(study: optuna.Study) -> list[TrialState]:
    return [trial.state for trial in study.get_trials()]


def test_a_search_finds_the_valley_and_goes_on_where_it_was(tmp_path: Path, goal: Goal) -> None:
    study, worker = start(tmp_path, goal)
    worker.work(6)
    assert len(study.get_trials()) == 6
    worker.work(6)  # there is nothing left to do
    assert len(study.get_trials()) == 6
    study, worker = start(tmp_path, goal)  # as another process would
    worker.work(16)
    assert len(study.get_trials()) == 16
    assert abs(study.best_params["optimizer.lr"] - BEST_LR) < 0.15
    assert not list((tmp_path / "study").rglob("*.pt"))  # figures are kept, weights are not


def test_a_trial_worse_than_the_median_at_its_epoch_is_pruned(tmp_path: Path, goal: Goal) -> None:
    study, worker = start(tmp_path, goal)
    for lr in (0.4, 0.45, 0.5, 0.55, 0.6, 0.99, 0.5):
        study.enqueue_trial({"optimizer.lr": lr})
    worker.work(7)
    assert states(study) == [TrialState.COMPLETE] * 5 + [TrialState.PRUNED, TrialState.COMPLETE]
    assert study.get_trials()[5].last_step == 1


def test_an_interrupted_trial_is_marked_and_goes_back_into_the_queue(
    tmp_path: Path, goal: Goal, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, worker = start(tmp_path, goal)
    monkeypatch.setattr(Valley, "interrupts", True)
    with pytest.raises(InterruptedFitError):
        worker.work(1)
    assert states(study) == [TrialState.FAIL, TrialState.WAITING]
    monkeypatch.setattr(Valley, "interrupts", False)
    worker.work(1)
    first, second = study.get_trials()
    assert second.state == TrialState.COMPLETE
    assert first.params == second.params


def test_a_trial_whose_process_is_lost_is_run_again(tmp_path: Path, goal: Goal) -> None:
    study, worker = start(tmp_path, goal)
    path = tmp_path / "studies.db"
    lost = optuna.load_study(study_name="study", storage=f"sqlite:///{path}").ask()
    value = lost.suggest_float("optimizer.lr", 0.01, 1.0)
    with sqlite3.connect(path) as database:
        database.execute(
            "INSERT INTO trial_heartbeats (trial_id, heartbeat) "
            "SELECT trial_id, '2020-01-01 00:00:00' FROM trials"
        )
    database.close()
    worker.work(1)
    assert states(study) == [TrialState.FAIL, TrialState.COMPLETE]
    assert study.get_trials()[1].params == {"optimizer.lr": value}


def test_a_kind_without_a_monitor_is_searched_by_its_judges_last_figure(
    tmp_path: Path, goal: Goal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Valley, "monitor", None)
    settings = goal.kind, "flat", goal.config, None, goal.space
    with pytest.raises(ConfigError, match="no figure of its fit says"):
        make_goal(*settings)
    monkeypatch.setattr(Country, "searched_by", ("judged", "min"))
    with pytest.raises(ConfigError, match="which a published judge measures"):
        make_goal(*settings)
    study, worker = start(tmp_path, make_goal(*settings, tmp_path / "judge"))
    worker.work(1)
    distance = abs(float(study.best_trial.user_attrs["settings"][0].partition("=")[2]) - BEST_LR)
    assert study.best_value == pytest.approx(distance + 3)  # of the third epoch, not of the best


def test_a_study_of_something_else_is_refused(tmp_path: Path, goal: Goal) -> None:
    start(tmp_path, goal)
    longer = make_goal(goal.kind, "flat", override(goal.config, ["fit.epochs=9"]), None, goal.space)
    with pytest.raises(ConfigError, match="was started with another config_sha256"):
        start(tmp_path, longer)


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("nonsense", "is not a database's URL"),
        ("postgresql://nobody:secret@127.0.0.1:1/none?connect_timeout=1", "Connection refused"),
        ("martian://x/y", "martian"),
    ],
)
def test_a_storage_that_cannot_be_used_is_said_without_its_password(
    goal: Goal, storage: str, message: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        open_study(storage, "study", goal, None)
    assert message in refusal.value.message
    assert "secret" not in refusal.value.message


def test_a_password_is_hidden() -> None:
    assert hide_password("postgresql://me:secret@host/base") == "postgresql://me:***@host/base"


def test_the_report_names_the_best_as_settings_and_every_trial(tmp_path: Path, goal: Goal) -> None:
    study, worker = start(tmp_path, goal)
    worker.work(5)
    text = write_report(study, goal, tmp_path / "out", storage="here", command="search again")
    (setting,) = study.best_trial.user_attrs["settings"]
    assert f"--set '{setting}'" in text
    assert "flat, as searched" in text
    assert f"| `optimizer.lr` | 0.001 | {setting.partition('=')[2]} |" in text
    assert "search again" in text
    assert len((tmp_path / "out" / "trials.csv").read_text().splitlines()) == 1 + 5
    for name in ("importance.png", "parallel.png"):
        assert (tmp_path / "out" / name).stat().st_size > 1000
        assert name in text


def test_a_report_of_nothing_finished_says_so(tmp_path: Path, goal: Goal) -> None:
    study, _ = start(tmp_path, goal)
    text = write_report(study, goal, tmp_path / "out", storage="here", command="search")
    assert "0 trials ended" in text
    assert not list((tmp_path / "out").glob("*.png"))


@pytest.mark.parametrize("kind", ["cnn", "lstm"])
def test_what_judges_a_trial_is_neither_trained_on_nor_the_final_judge(
    kind: str, sources: dict[str, Path], cache_dir: Path
) -> None:
    family = kinds()[kind]
    data = family.load_data(str(sources[kind]), cache_dir)
    config, held = family.hold_out(family.presets["tiny"], data)
    task: Any = family.task(config, held, CPU)
    assert task.monitor is not None
    if kind == "lstm":
        assert held.train + held.val == data.train
        assert len(held.val) > 0
    else:
        assert len(task.images) + len(task.held_out.images) == len(data.train.images)
        unseen = {image.tobytes() for image in data.test.images}
        assert not unseen & {image.tobytes() for image in task.held_out.images}


def command(tmp_path: Path, sources: dict[str, Path], cache_dir: Path, trials: int) -> list[str]:
    words = ["search", "--kind", "lstm", "--preset", "tiny", "--epochs", "1", "--threads", "1"]
    words += ["--data", str(sources["lstm"]), "--cache-dir", str(cache_dir)]
    words += ["--runs", str(tmp_path / "runs"), "--trials", str(trials)]
    words += ["--store", str(tmp_path / "models")]
    return [*words, "--space", "optimizer.lr", "--space", "network.dropout=0..0.5"]


@pytest.mark.timeout(900)  # each loads torch, on a machine that may be at work on other things
def test_two_processes_share_a_study(
    tmp_path: Path, sources: dict[str, Path], cache_dir: Path
) -> None:
    words = [sys.executable, "-m", "training", *command(tmp_path, sources, cache_dir, 6)]
    workers = [
        subprocess.Popen(
            words,
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        said = [worker.communicate(timeout=600)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert [worker.returncode for worker in workers] == [0, 0], said
    study = optuna.load_study(
        study_name="lstm-tiny", storage=f"sqlite:///{tmp_path / 'runs' / 'search' / 'studies.db'}"
    )
    ended = [trial for trial in study.get_trials() if trial.state.is_finished()]
    assert 6 <= len(ended) <= 7  # each may have had one under way when the sixth ended
    assert all(trial.state == TrialState.COMPLETE for trial in ended)
    assert sum(f"\ntrial {trial.number}:" in text for text in said for trial in ended) == len(ended)
    # Whose report was written last may not have known the other's last trial yet.
    assert main(command(tmp_path, sources, cache_dir, 0)) == 0
    report = tmp_path / "runs" / "search" / "lstm-tiny" / "report.md"
    assert f"trial {study.best_trial.number}, val_loss_nats" in report.read_text("utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--kind", "gan", "--epochs", "2"], "gan is searched by sample_frechet"),
        (["--preset", "huge"], "it has textbook, standard, tiny"),
        (["--trials", "-1"], "--trials is -1"),
        (["--space", "network.size=1..2"], "did you mean"),
        (["--storage", "nonsense"], "is not a database's URL"),
    ],
)
def test_a_search_that_cannot_be_is_one_message_and_code_2(
    tmp_path: Path,
    sources: dict[str, Path],
    cache_dir: Path,
    capsys: pytest.CaptureFixture[str],
    change: list[str],
    message: str,
) -> None:
    words = command(tmp_path, sources, cache_dir, 1)
    if "gan" in change:
        words[words.index("--data") + 1] = str(sources["gan"])
        del words[-2:]  # the space of a network with dropout
    assert main([*words, *change]) == 2
    complaint = capsys.readouterr().err
    assert message in complaint
    assert "Traceback" not in complaint
