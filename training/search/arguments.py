"""The words of `search`, and its command line."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from training.defaults import DEFAULTS, STORE_HELP, add_cache
from training.kinds import kinds


def add_search(command: argparse.ArgumentParser) -> None:
    """The options of `search`."""
    command.add_argument("--kind", choices=sorted(kinds()), required=True)
    command.add_argument("--preset", default="standard", help="what the trials vary")
    command.add_argument(
        "--trials",
        type=int,
        default=20,
        help="go on until the study has so many, whoever ran them; 0 writes the report alone",
    )
    command.add_argument(
        "--storage",
        metavar="URL",
        help="database of studies: sqlite:///FILE (default: search/studies.db among the runs), or, "
        "for many machines, postgresql://USER@HOST/DATABASE (needs pip install 'psycopg[binary]')",
    )
    command.add_argument("--study", help="its name, to go on with or to share (KIND-PRESET)")
    command.add_argument("--epochs", type=int, help="short for --set fit.epochs=")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="settings",
        help="change a setting of all trials",
    )
    command.add_argument(
        "--space",
        action="append",
        default=[],
        metavar="KEY[=VALUES]",
        help="search this setting instead of the kind's own space: KEY of that space, "
        "KEY=low..high, KEY=low..high:log or KEY=a|b|c; may be given several times",
    )
    command.add_argument(
        "--seed", type=int, help="of the sampler, for a study that one process works on"
    )
    command.add_argument("--data", help="as for fit")
    command.add_argument("--judge", help="of a GAN's trials: as for run")
    command.add_argument("--store", default=DEFAULTS["store"], help=STORE_HELP)
    command.add_argument("--runs", type=Path, default=DEFAULTS["runs"], help="folder of all runs")
    command.add_argument("--device", default=DEFAULTS["device"], help="auto, cpu, cuda or cuda:<n>")
    command.add_argument(
        "--threads", type=int, default=DEFAULTS["threads"], help="CPU threads (0: torch decides)"
    )
    add_cache(command)


def search_command(arguments: argparse.Namespace, storage: str | None, data: str | None) -> str:
    """The command line that goes on with a study, `storage` and `data` as they may be shown."""
    words = ["triptych-train", "search"]
    for option, value in {
        "--kind": arguments.kind,
        "--preset": arguments.preset,
        "--study": arguments.study,
        "--storage": storage,
        "--trials": arguments.trials,
        "--epochs": arguments.epochs,
        "--data": data,
        "--judge": arguments.judge,
    }.items():
        if value is not None:
            words += [option, str(value)]
    for option, values in (("--set", arguments.settings), ("--space", arguments.space)):
        for value in values:
            words += [option, value]
    return shlex.join(words)
