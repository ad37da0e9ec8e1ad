"""What a study found: the best settings, which of them mattered, every trial.

The importance of a setting is its share of what separates the better trials from the rest
(PED-ANOVA, Watanabe et al. 2023, arXiv:2304.10255). It is of the space that was searched: a setting
whose range held only good values looks unimportant.
"""

from __future__ import annotations

import csv
import io
import warnings
from datetime import UTC, datetime
from pathlib import Path

import matplotlib as mpl
import optuna
import torch
from matplotlib.axes import Axes
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization.matplotlib import plot_parallel_coordinate, plot_param_importances

from training.config import flatten, override
from training.plots.drawing import DPI
from training.precision import describe_hardware
from training.search.goal import Goal

REPORT_FILE, TABLE_FILE = "report.md", "trials.csv"
IMPORTANCE_FILE, PARALLEL_FILE = "importance.png", "parallel.png"
FEWEST_TRIALS = 4  # completed ones, below which importances are noise
SHOWN_TRIALS = 10


def write_report(
    study: optuna.Study, goal: Goal, folder: Path, *, storage: str, command: str
) -> str:
    """Write `report.md`, `trials.csv` and the plots into `folder`; returns the report's text.

    `storage` is the database as it may be shown.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trials = [trial for trial in study.get_trials() if trial.state.is_finished()]
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    _write_table(trials, goal, folder / TABLE_FILE)
    now = f"{datetime.now(UTC):%Y-%m-%d}"
    lines = [
        f"# Search of {goal.kind.name} {goal.preset}: {study.study_name}",
        "",
        f"{len(trials)} trials ended: {_count(trials)}. Judged by `{goal.metric}` "
        f"({'highest' if goal.direction == 'max' else 'lowest'} is best) on data held out of the "
        f"training split, for {goal.config.fit.epochs} epochs unless the median prunes. "
        f"{describe_hardware(torch.device('cpu'))}; {now}; {storage}.",
        "",
        f"    {command}",
        "",
        *_space_lines(goal),
    ]
    if complete:
        lines += ["", *_best_lines(study.best_trial, goal)]
    if len(complete) >= FEWEST_TRIALS:
        importances = optuna.importance.get_param_importances(study)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            with mpl.rc_context():
                _save(plot_param_importances(study), folder / IMPORTANCE_FILE)
                _save(
                    plot_parallel_coordinate(study, target_name=goal.metric), folder / PARALLEL_FILE
                )
        lines += [
            "",
            "## What mattered",
            "",
            f"Of {len(complete)} completed trials; of fewer than some tens, it is a hint.",
            "",
            "| setting | importance |",
            "| --- | --- |",
            *(f"| `{key}` | {share:.0%} |" for key, share in importances.items()),
            "",
            f"![Importance of each setting]({IMPORTANCE_FILE})",
            "",
            f"![Every completed trial, darker where better]({PARALLEL_FILE})",
        ]
    lines += ["", *_trial_lines(complete, goal)]
    text = "\n".join(lines) + "\n"
    (folder / REPORT_FILE).write_text(text, "utf-8")
    return text


def best_settings(study: optuna.Study) -> list[str]:
    """The best trial's `key=value`, as `--set` takes them."""
    settings: list[str] = study.best_trial.user_attrs["settings"]
    return settings


def _count(trials: list[FrozenTrial]) -> str:
    states = [trial.state.name.lower() for trial in trials]
    return ", ".join(f"{states.count(name)} {name}" for name in sorted(set(states))) or "none"


def _space_lines(goal: Goal) -> list[str]:
    rows = [f"| `{dimension.key}` | {dimension.describe()} |" for dimension in goal.space]
    return ["| searched | values |", "| --- | --- |", *rows]


def _best_lines(best: FrozenTrial, goal: Goal) -> list[str]:
    settings: list[str] = best.user_attrs["settings"]
    before = flatten(goal.config)
    after = flatten(override(goal.config, settings))
    changed = [key for key in after if after[key] != before[key]]
    return [
        f"## Best: trial {best.number}, {goal.metric} {best.value:.4g}",
        "",
        "    " + " ".join(f"--set '{setting}'" for setting in settings),
        "",
        f"| setting | {goal.preset}, as searched | best trial |",
        "| --- | --- | --- |",
        *(f"| `{key}` | {before[key]} | {after[key]} |" for key in changed),
    ]


def _trial_lines(complete: list[FrozenTrial], goal: Goal) -> list[str]:
    best_first = sorted(
        complete, key=lambda trial: trial.value or 0.0, reverse=goal.direction == "max"
    )
    keys = [dimension.key for dimension in goal.space]
    return [
        f"## The {min(SHOWN_TRIALS, len(complete))} best of {len(complete)} completed trials",
        "",
        f"All of them, pruned ones too, are in `{TABLE_FILE}`.",
        "",
        f"| trial | {goal.metric} | " + " | ".join(f"`{key}`" for key in keys) + " |",
        "| --- " * (len(keys) + 2) + "|",
        *(
            f"| {trial.number} | {trial.value:.4f} | " + " | ".join(_values(trial)) + " |"
            for trial in best_first[:SHOWN_TRIALS]
        ),
    ]


def _values(trial: FrozenTrial) -> list[str]:
    settings: list[str] = trial.user_attrs["settings"]
    return [setting.partition("=")[2] for setting in settings]


def _write_table(trials: list[FrozenTrial], goal: Goal, path: Path) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    keys = [dimension.key for dimension in goal.space]
    writer.writerow(["trial", "state", "epochs", "duration_s", goal.metric, *keys])
    for trial in trials:
        seconds = trial.duration.total_seconds() if trial.duration else 0.0
        figure = "" if trial.value is None else f"{trial.value:.6g}"
        settings = _values(trial) if "settings" in trial.user_attrs else []
        writer.writerow(
            [
                trial.number,
                trial.state.name.lower(),
                trial.last_step or 0,
                f"{seconds:.1f}",
                figure,
                *settings,
            ]
        )
    path.write_text(text.getvalue(), "utf-8")


def _save(axes: Axes, path: Path) -> None:
    """Optuna draws with pyplot, which keeps every figure until it is closed."""
    from matplotlib import pyplot as plt  # noqa: PLC0415 - it chooses a display when imported

    figure = axes.figure
    figure.set_size_inches(9, 4)  # type: ignore[union-attr]
    figure.savefig(path, dpi=DPI, bbox_inches="tight")  # type: ignore[union-attr]
    plt.close(figure)  # type: ignore[arg-type]
