"""The words of `triptych-train store`, and of a trial."""

from __future__ import annotations

import argparse

from service.store.publisher import KEEP_VERSIONS
from training.defaults import DEFAULTS, STORE_HELP
from training.stores import ACTIONS


def add_store(command: argparse.ArgumentParser) -> None:
    """The options of `store`."""
    command.add_argument("action", choices=ACTIONS)
    command.add_argument("--model", help="of this one; the others may be left out where none is")
    command.add_argument("--store", default=DEFAULTS["store"], help=STORE_HELP)
    command.add_argument("--version", help="to show, compare, promote or go back to")
    command.add_argument("--against", help="diff: the other version (default: the served one)")
    add_trial(command)
    command.add_argument("--keep", type=int, default=KEEP_VERSIONS, help="sweep: versions kept")
    command.add_argument("--note", default="", help="why, for the log")
    command.add_argument("--json", action="store_true", help="for programs")


def add_trial(command: argparse.ArgumentParser) -> None:
    """How a version is put on trial."""
    command.add_argument(
        "--canary",
        type=_share,
        metavar="SHARE",
        help="answer this share of requests first, 0.05 or 5%%; the version is promoted "
        "when the window has passed well, and taken back when it has not",
    )
    command.add_argument("--shadow", type=_share, metavar="SHARE", help="copies of requests alone")
    command.add_argument(
        "--window", type=float, default=DEFAULTS["window"], metavar="SECONDS", help="of the trial"
    )
    command.add_argument(
        "--requests", type=int, default=DEFAULTS["requests"], help="that the trial must have seen"
    )


def _share(text: str) -> float:
    share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share above 0 and at most 1 (or 100%)")
    return share
