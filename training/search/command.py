"""`triptych-train search`: open the study, work on it, report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from training.config import override
from training.errors import ConfigError
from training.kinds.base import Kind
from training.partners import partner_folder
from training.precision import choose_device
from training.search.arguments import search_command
from training.search.goal import make_goal
from training.search.report import REPORT_FILE, write_report
from training.search.space import choose_space
from training.search.study import Worker, hide_password, open_study


def search(arguments: argparse.Namespace, kind: Kind[Any, Any]) -> None:
    """Do what the command line says; raises ConfigError for what it cannot mean."""
    if arguments.trials < 0:
        raise ConfigError(f"--trials is {arguments.trials}; it must be 0 or more")
    if arguments.preset not in kind.presets:
        raise ConfigError(
            f"{kind.name} has no preset {arguments.preset!r}; it has {', '.join(kind.presets)}",
            field="preset",
        )
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    settings = list(arguments.settings)
    if arguments.epochs is not None:
        settings.append(f"fit.epochs={arguments.epochs}")
    config = override(kind.presets[arguments.preset], settings)
    space = choose_space(kind.space, arguments.space, config)
    data = kind.load_data(arguments.data, arguments.cache_dir.expanduser())
    kind.check_teachers(config, data, ())  # trials have none
    partner = partner_folder(arguments.store, kind, arguments.judge)
    goal = make_goal(kind, arguments.preset, config, data, space, partner)
    name = arguments.study = arguments.study or f"{kind.name}-{arguments.preset}"
    folder = arguments.runs / "search" / name
    storage = arguments.storage or f"sqlite:///{arguments.runs / 'search' / 'studies.db'}"
    study = open_study(storage, name, goal, arguments.seed)
    shown = hide_password(storage)
    print(f"study {name} in {shown}; report in {folder}")
    try:
        Worker(study, goal, folder, choose_device(arguments.device)).work(arguments.trials)
    finally:
        given = Path(arguments.data).name if arguments.data is not None else None
        command = search_command(arguments, shown, given)
        text = write_report(study, goal, folder, storage=shown, command=command)
    print(f"\n{text}\n{folder / REPORT_FILE}")
