"""The kinds, found by looking: each module here that defines `KIND` is one.

A new kind is one new file in this folder.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any

from training.kinds.base import Kind


@cache
def kinds() -> dict[str, Kind[Any, Any]]:
    """Every kind by its name."""
    found: dict[str, Kind[Any, Any]] = {}
    for module in pkgutil.iter_modules(__path__):
        kind = getattr(importlib.import_module(f"{__name__}.{module.name}"), "KIND", None)
        if kind is not None:
            found[kind.name] = kind
    return found
