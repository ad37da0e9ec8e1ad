"""The words of the command line: commands, options, defaults."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

from triptych.client.exchange import DEFAULT_URL, KEY_VARIABLE, URL_VARIABLE

Command = Callable[[argparse.Namespace], int]

HELP = {
    "classify": "say what images show",
    "generate": "continue a text, and print it as it is written",
    "sample": "draw pictures",
    "models": "list the models that are served",
    "infer": "run a model on tensors from .npy files",
    "health": "say whether the service is ready; exit code 4 if it is not",
}
EXIT_CODES = (
    "exit codes: 0 done, 2 wrong usage or a file that cannot be read or written, 3 refused by the "
    "server, 4 the server or the way to it failed, 130 interrupted"
)


def build_parser(commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    """The parser; each command line carries its function as `command`."""
    parser = argparse.ArgumentParser(
        prog="triptych",
        description="Ask a Triptych service.",
        epilog=EXIT_CODES,
        allow_abbrev=False,
    )
    version = f"triptych {metadata.version('triptych')}"
    parser.add_argument("--version", action="version", version=version)
    known = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add = {
        "classify": _classify,
        "generate": _generate,
        "sample": _sample,
        "infer": _infer,
    }
    for name, function in commands.items():
        text = HELP[name]
        command = known.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.set_defaults(command=function)
        if name in add:
            add[name](command)
        _add_common(command)
    return parser


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--url", help=f"address of the service (${URL_VARIABLE}; without it {DEFAULT_URL})"
    )
    command.add_argument(
        "--api-key",
        help=f"rather set ${KEY_VARIABLE}: other users may see a command line",
    )
    command.add_argument(
        "--timeout",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="time for a request with all its attempts (%(default)g)",
    )
    command.add_argument(
        "--retries", type=int, default=4, help="attempts after the first (%(default)s)"
    )
    command.add_argument(
        "--json", action="store_true", help="JSON also where the output is a terminal"
    )


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", help="without it, the first of its kind by name")


def _classify(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="an image, a folder of them, a pattern, - for stdin",
    )
    _add_model(command)
    command.add_argument("--top-k", type=int, metavar="K", help="classes to name")
    command.add_argument(
        "--explain", action="store_true", help="add a heatmap of where the model looked"
    )
    command.add_argument(
        "-o",
        "--output",
        type=Path,
        help="with --explain: PNG of the image under its heatmap; of several, a folder",
    )


def _generate(command: argparse.ArgumentParser) -> None:
    command.add_argument("--prompt", help="what to continue; - or none: stdin, as it is")
    _add_model(command)
    command.add_argument(
        "--max-tokens", type=int, default=200, help="characters to write (%(default)s)"
    )
    command.add_argument("--temperature", type=float, help="0 to 2")
    command.add_argument("--top-p", type=float, help="0 to 1")
    command.add_argument("--top-k", type=int, metavar="K")
    command.add_argument("--stop", action="append", help="ends the text before it; up to 4 times")
    command.add_argument("--echo", action="store_true", help="print the prompt before it")
    _add_seed(command)


def _sample(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--class",
        dest="labels",
        action="append",
        default=[],
        metavar="CLASS",
        help="a class; several are drawn in turn; none: all of them",
    )
    command.add_argument("-n", type=int, help="how many pictures; without it, one a class")
    _add_model(command)
    _add_seed(command)
    command.add_argument("--columns", type=int, help="of the grid, 1 to 64")
    command.add_argument(
        "-o",
        "--output",
        help="FILE.png: one grid; a folder: a file each; -: the grid's bytes to stdout",
    )


def _add_seed(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=int, help="the same seed gives the same answer")


def _infer(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL")
    command.add_argument("tensors", nargs="+", metavar="INPUT=FILE.npy")
    command.add_argument("-o", "--output", type=Path, help="FILE.npz; without it, JSON")
