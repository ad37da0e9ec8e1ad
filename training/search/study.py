"""A study: trials of a kind's configuration, kept in a database by its URL.

Any number of processes and machines work on one study at a time: each draws its next trial from
all results so far (TPE: Bergstra et al. 2011; Watanabe 2023, arXiv:2304.11127) and ends a trial
whose best validation figure is worse than the median of the others' at that epoch (Golovin et al.
2017, section 3.2). Trials are judged on a share of the training data; test data are never seen.
"""

from __future__ import annotations

import json
import math
import shutil
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from training.config import override
from training.errors import ConfigError, DivergedError, InterruptedFitError
from training.loop import BEST_FILE, CHECKPOINT_FILE, fit
from training.search.goal import Goal

HEARTBEAT_S = 60  # a trial that has given no sign for twice as long has lost its process
CONNECT_ATTEMPTS = 3
SQLITE_WAIT_S = 60  # for another process's write: SQLite locks the whole file
STARTUP_TRIALS = 5  # finished at random before the median means anything
DONE = (TrialState.COMPLETE, TrialState.PRUNED)


def open_study(storage: str, name: str, goal: Goal, seed: int | None) -> optuna.Study:
    """Start the study, or go on with it.

    Args:
        storage: a database's URL: `sqlite:///runs/search.db`, `postgresql://user@host/database`.
        name: the study's name in it.
        goal: what its trials have in common.
        seed: of the sampler; None draws another for each process, as several of them need.

    Raises ConfigError for a URL that cannot be used, or a study of something else.

    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=_connect(storage),
        study_name=name,
        direction="maximize" if goal.direction == "max" else "minimize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=STARTUP_TRIALS, constant_liar=True
        ),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS),
    )
    identity = json.loads(json.dumps(goal.identity()))
    before = study.user_attrs.get("identity")
    if before is None:  # two processes that start it at once write the same
        study.set_user_attr("identity", identity)
    elif before != identity:
        changed = sorted(key for key in identity if before.get(key) != identity[key])
        raise ConfigError(
            f"study {name!r} was started with another {', '.join(changed)}; give the same "
            "options as then, or another --study",
            field="study",
        )
    return study


def _connect(storage: str) -> optuna.storages.RDBStorage:
    """Open the database. Of several processes that make its tables at once all but one fail, by an
    error that differs between databases; the next try finds them made.
    """
    for attempt in range(CONNECT_ATTEMPTS):
        try:
            return _open_storage(storage)
        except (SQLAlchemyError, ImportError) as error:
            if attempt + 1 == CONNECT_ATTEMPTS:
                raise ConfigError(
                    f"--storage {hide_password(storage)}: {str(error).splitlines()[0]}",
                    field="storage",
                ) from error
            time.sleep(1)
    raise AssertionError("the last attempt returns or raises")


def _open_storage(storage: str) -> optuna.storages.RDBStorage:
    try:
        url = make_url(storage)
    except ArgumentError as error:
        raise ConfigError(
            "--storage is not a database's URL; give e.g. sqlite:///runs/search.db or "
            "postgresql://user@host/database",
            field="storage",
        ) from error
    engine: dict[str, Any] = {}
    if url.get_backend_name() == "sqlite":
        engine["connect_args"] = {"timeout": SQLITE_WAIT_S}
        if url.database:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
        try:
            import psycopg  # noqa: F401, PLC0415 - an optional install
        except ImportError as error:
            raise ConfigError(
                "a study in PostgreSQL needs psycopg: pip install 'psycopg[binary]'",
                field="storage",
            ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return optuna.storages.RDBStorage(
            url.render_as_string(hide_password=False),
            engine_kwargs=engine,
            heartbeat_interval=HEARTBEAT_S,
            heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(),
        )


def hide_password(storage: str) -> str:
    """The URL as it may be shown."""
    try:
        return make_url(storage).render_as_string(hide_password=True)
    except ArgumentError:
        return "(not a URL)"


class Worker:
    """This process's part in a study. Trials leave their figures under `folder/trials`."""

    def __init__(self, study: optuna.Study, goal: Goal, folder: Path, device: torch.device) -> None:
        self.study, self.goal, self.folder, self.device = study, goal, folder, device

    def work(self, trials: int) -> None:
        """Run trials until the study has `trials` that ended by themselves, whoever ran them.

        One that is interrupted goes back into the queue; one whose process is lost does so when
        its heartbeat has been missing for two minutes.
        """
        while self._finished() < trials:
            self.study.optimize(self._run, n_trials=1, callbacks=[self._tell])

    def _finished(self) -> int:
        return len(self.study.get_trials(deepcopy=False, states=DONE))

    def _run(self, trial: optuna.Trial) -> float:
        goal = self.goal
        assignments = [dimension.assign(trial) for dimension in goal.space]
        trial.set_user_attr("settings", assignments)
        config = override(goal.config, assignments)
        folder = self.folder / "trials" / f"{trial.number:04d}"
        if folder.exists():  # of an earlier study of that name
            shutil.rmtree(folder)

        last = math.nan

        def watch(line: Mapping[str, Any]) -> None:
            nonlocal last
            if goal.metric in line:
                last = line[goal.metric]
                trial.report(line[goal.metric], line["epoch"])
                # One that has come to its end is not spared anything by being called pruned.
                if line["epoch"] < config.fit.epochs and trial.should_prune():
                    raise optuna.TrialPruned

        task = goal.task(config, self.device)
        try:
            progress = fit(task, config, folder, self.device, watch=watch)
        except DivergedError as error:
            raise optuna.TrialPruned(error.message) from error
        except (InterruptedFitError, KeyboardInterrupt) as stop:
            self.study.enqueue_trial(trial.params, user_attrs={"again": trial.number})
            raise InterruptedFitError(
                f"trial {trial.number} was interrupted; its settings are back in the queue"
            ) from stop
        finally:
            for name in (CHECKPOINT_FILE, BEST_FILE):  # a search keeps figures, not weights
                (folder / name).unlink(missing_ok=True)
        # The weights kept are the best ones where the fit has a figure for that, or the last.
        value = last if task.monitor is None else progress.best
        if value is None or not math.isfinite(value):
            raise optuna.TrialPruned(f"{goal.metric} was never a number")
        return value

    def _tell(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        figure = "" if trial.value is None else f" {self.goal.metric} {trial.value:.4g}"
        settings = " ".join(trial.user_attrs.get("settings", []))
        print(f"trial {trial.number}: {trial.state.name.lower()}{figure}  {settings}")
