"""A case for each kind, in a module of the kind's name: what its conformance tests run on.

`write_data(folder)` writes synthetic data and returns their path; `FLOORS` are floors of the gate
that an almost untrained model meets, a value for every rule of the kind.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol, cast


class Case(Protocol):
    FLOORS: dict[str, float]

    @staticmethod
    def write_data(folder: Path) -> Path: ...


def case(kind: str) -> Case:
    """The kind's case; ModuleNotFoundError for a kind that lacks one."""
    return cast("Case", importlib.import_module(f"{__name__}.{kind}"))
