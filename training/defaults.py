"""What commands take if they are told nothing, and the options that most of them have."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from training.stores import DEFAULT_REQUESTS, DEFAULT_WINDOW_S

STORE_HELP = "model store: a folder, or s3://bucket/prefix"

DEFAULTS: dict[str, Any] = {
    "store": "models",
    "runs": Path("runs"),
    "cache_dir": Path("~/.cache/triptych"),
    "device": "auto",
    "threads": 0,
    "judge": None,
    "canary": None,
    "shadow": None,
    "window": DEFAULT_WINDOW_S,
    "requests": DEFAULT_REQUESTS,
    "baseline": None,
    "precision": "auto",
    "allow_slower": None,
    "allow_larger": None,
}


def add_cache(command: argparse.ArgumentParser) -> None:
    """Where what was fetched is kept."""
    command.add_argument(
        "--cache-dir",
        type=Path,
        default=DEFAULTS["cache_dir"],
        help="where downloads and decoded images are kept",
    )
