"""The words of the command line: commands, options, defaults."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from service.contract import WantedPrecision
from training.defaults import DEFAULTS, STORE_HELP, add_cache
from training.distributed import launch_words
from training.drift.arguments import add_check, add_drift, add_limits
from training.kinds import kinds
from training.search.arguments import add_search, search_command
from training.store_arguments import add_store, add_trial

Command = Callable[[argparse.Namespace], None]

EXIT_CODES = (
    "exit codes: 0 done (for run and publish: published), 2 wrong usage or configuration, "
    "3 refused by the gate or the check of new data, or drift, 4 failed, 5 another run of the "
    "model is under way, 130 interrupted"
)

STEPS = {
    "run": "do it all: fit, export, verify, quantise, evaluate, gate, publish; with --resume, what "
    "is not done yet",
    "fit": "train, or go on training with --resume",
    "export": "write the ONNX graph",
    "verify": "prove the graph against torch and write golden outputs",
    "quantise": "make an int8 graph beside it, and choose the one to serve",
    "evaluate": "measure the graph on held-out data",
    "gate": "compare the figures with their floors and the served version",
    "publish": "write card and manifest and make this the served version",
}
STARTING = ("run", "fit")
REPRODUCE = (
    "measure published models again, from their files, and compare every figure with its manifest"
)
STORE = "look at the model store and change what is served: who published what, and going back"
DRIFT = "compare what a service was asked, as its feedback has it, with a model's training data"
SEARCH = "search for better settings, judged on data held out of the training split"


def build_parser(
    *,
    step: Command,
    presets: Command,
    data: Command,
    search: Command,
    reproduce: Command,
    store: Command,
    drift: Command,
) -> argparse.ArgumentParser:
    """The parser; each command line carries its function as `command`, and steps their name."""
    parser = argparse.ArgumentParser(
        prog="triptych-train",
        description="Train, prove and publish models.",
        epilog=EXIT_CODES,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, text in STEPS.items():
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.set_defaults(command=step, step=name)
        _add_common(command)
        if name in STARTING:
            _add_starting(command)
        if name in ("run", "quantise"):
            command.add_argument(
                "--precision",
                choices=get_args(WantedPrecision),
                default=DEFAULTS["precision"],
                help="graph to serve: auto takes int8 where it loses next to nothing and pays",
            )
        if name in ("run", "quantise", "evaluate"):
            _add_judge(command)
        if name in ("run", "publish"):
            add_trial(command)
        if name in ("run", "gate"):
            command.add_argument(
                "--floor",
                action="append",
                default=[],
                metavar="METRIC=VALUE",
                help="replace a floor of the gate",
            )
            command.add_argument(
                "--allow-worse",
                action="append",
                default=[],
                metavar="METRIC=AMOUNT",
                help="let a figure be so much worse than the served version's, though the gate's "
                "test is sure that it is",
            )
            for option, word, default in (("slower", "time", 1.5), ("larger", "size", 2)):
                command.add_argument(
                    f"--allow-{option}",
                    type=float,
                    metavar="FACTOR",
                    help=f"most that the graph's {word} may be, over the served version's "
                    f"({default:g})",
                )
    _add_reproduce(
        commands.add_parser("reproduce", help=REPRODUCE, description=REPRODUCE, allow_abbrev=False)
    )
    commands.choices["reproduce"].set_defaults(command=reproduce, step="reproduce")
    command = commands.add_parser("presets", help="list the presets, or show one in full")
    command.set_defaults(command=presets)
    command.add_argument("--kind", choices=sorted(kinds()))
    command.add_argument("--preset")
    command = commands.add_parser("data", help="look at the data, fetch them, or check new ones")
    command.set_defaults(command=data)
    command.add_argument("action", choices=("describe", "fetch", "check"))
    command.add_argument("--kind", choices=sorted(kinds()), required=True)
    command.add_argument("--data", help="as for fit; for check: the new data")
    command.add_argument("--out", type=Path, default=Path("runs/data"), help="folder for the plots")
    add_check(command)
    add_cache(command)
    add_drift(commands.add_parser("drift", help=DRIFT, description=DRIFT, allow_abbrev=False))
    commands.choices["drift"].set_defaults(command=drift)
    add_search(commands.add_parser("search", help=SEARCH, description=SEARCH, allow_abbrev=False))
    commands.choices["search"].set_defaults(command=search, step="search")
    add_store(commands.add_parser("store", help=STORE, description=STORE, allow_abbrev=False))
    commands.choices["store"].set_defaults(command=store, step="store")
    return parser


def _add_reproduce(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--model", action="append", default=[], help="only this one; may be given several times"
    )
    command.add_argument("--store", default=DEFAULTS["store"], help=STORE_HELP)
    command.add_argument(
        "--data",
        type=Path,
        action="append",
        default=[],
        help="the data, or a folder that holds them; told by their checksums; may be given several "
        "times (default: their official address)",
    )
    command.add_argument(
        "--out", type=Path, default=Path("reports"), help="a folder for each model's report"
    )
    command.add_argument(
        "--publish",
        action="store_true",
        help="do not compare: publish the same graphs as a new version, whose card has the figures "
        "of today, with the judge and the baseline of today",
    )
    _add_judge(command)
    add_cache(command)


def _add_judge(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--judge",
        default=DEFAULTS["judge"],
        help="published model, or its version's folder, that takes part in the evaluation: "
        "the classifier that judges a GAN's samples (default: cifar10), or the GAN whose "
        "pictures a classifier's card shows (default: cifar10-gan)",
    )
    command.add_argument(
        "--baseline",
        help="published model, or its version's folder, whose figures stand beside a GAN's "
        "(default: cifar10-dcgan, where it is published)",
    )


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--kind", choices=sorted(kinds()), help="family; known for known models")
    command.add_argument("--model", help="name to publish under (default: the kind's own)")
    command.add_argument(
        "--run-dir", type=Path, help="the run's folder (default: a new one, or the latest)"
    )
    command.add_argument("--runs", type=Path, default=DEFAULTS["runs"], help="folder of all runs")
    command.add_argument("--store", default=DEFAULTS["store"], help=STORE_HELP)
    command.add_argument("--device", default=DEFAULTS["device"], help="auto, cpu, cuda or cuda:<n>")
    command.add_argument(
        "--threads", type=int, default=DEFAULTS["threads"], help="CPU threads (0: torch decides)"
    )
    add_cache(command)


def _add_starting(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--preset",
        help="named configuration (default: that of the served version, with whose weights and "
        "answers it goes on if it had others' itself; of a new model: standard)",
    )
    command.add_argument(
        "--data", help="archive, folder or file (default: the kind's own, fetched)"
    )
    command.add_argument(
        "--new-data",
        metavar="FOLDER",
        help="labelled data, a folder or an address (s3://...), that are checked and join the "
        "training split",
    )
    add_limits(command)
    command.add_argument("--seed", type=int, help="short for --set fit.seed=")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="settings",
        help="change a setting, e.g. optimizer.lr=0.1; `presets` lists them",
    )
    command.add_argument(
        "--start-from",
        type=Path,
        metavar="RUN",
        help="folder of a run with the same network, or a narrower classifier: begin with its "
        "weights, not with random ones; or a published classifier or text model, by its name or "
        "its version's folder",
    )
    command.add_argument(
        "--teacher",
        action="append",
        metavar="NAME",
        dest="teachers",
        help="published classifier, or its version's folder, from whose answers the fit learns "
        "besides the labels: set distillation.weight; given again, from the mean of their answers",
    )
    command.add_argument(
        "--resume",
        nargs="?",
        const="latest",
        choices=("latest", "auto"),
        help="go on with the latest run; auto: with the latest that was started in the same way on "
        "the same data, if it is not over, or else start one",
    )
    command.add_argument("--dry-run", action="store_true", help="say what would be done, and end")


def resume_command(arguments: argparse.Namespace) -> str:
    """The command line that goes on with a run that was broken off, or a search."""
    if arguments.step == "search":
        return search_command(arguments, arguments.storage, arguments.data)
    words = [*launch_words(), arguments.step]
    words += ["--resume"] if arguments.step in STARTING else []
    words += ["--run-dir", str(arguments.run_dir)]
    for option, default in DEFAULTS.items():
        value = getattr(arguments, option, default)
        if value != default:
            words += [f"--{option.replace('_', '-')}", str(value)]
    for option in ("floor", "allow_worse"):
        for value in getattr(arguments, option, []):
            words += [f"--{option.replace('_', '-')}", value]
    return shlex.join(words)
