"""The words of the check of new data and of `drift`."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.defaults import DEFAULTS, STORE_HELP, add_cache
from training.measures.drift import Limits


def add_check(command: argparse.ArgumentParser) -> None:
    """What `data check` compares with."""
    command.add_argument("--against", metavar="DATA", help="for check: the data, as for fit")
    command.add_argument(
        "--against-model",
        metavar="NAME",
        help="for check: the data of this published model; --against then says where they lie",
    )
    command.add_argument("--store", default=DEFAULTS["store"], help=STORE_HELP)
    add_limits(command)


def add_drift(command: argparse.ArgumentParser) -> None:
    """The options of `drift`."""
    command.add_argument(
        "--feedback", required=True, help="folder, or s3://..., that TRIPTYCH_FEEDBACK named"
    )
    command.add_argument("--model", required=True, help="published model, in its served version")
    command.add_argument("--store", default=DEFAULTS["store"], help=STORE_HELP)
    command.add_argument(
        "--data",
        type=Path,
        action="append",
        default=[],
        help="the training data, or a folder that holds them; may be given several times (default: "
        "their official address)",
    )
    command.add_argument("--days", type=int, help="only the last so many (default: all)")
    command.add_argument(
        "--out", type=Path, default=Path("reports/drift"), help="folder for the report"
    )
    add_limits(command)
    add_cache(command)


def add_limits(command: argparse.ArgumentParser) -> None:
    """From where on a difference is too much."""
    usual = Limits()
    for option, default, text in (
        ("--psi-note", usual.psi_note, "population stability index that is said"),
        ("--psi-refuse", usual.psi_refuse, "population stability index that is too much"),
        ("--significance", usual.significance, "of the tests, all together"),
        ("--share-ratio", usual.share_ratio, "how many times more, or less, of a class"),
    ):
        command.add_argument(option, type=float, default=default, help=f"{text} ({default:g})")
