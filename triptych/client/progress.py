"""Bars that show progress, where tqdm is installed and stderr is a terminal."""

from __future__ import annotations

import importlib.util
from typing import Any, Protocol

from triptych.client.errors import InvalidInputError


class Bar(Protocol):
    """What is told of each thing that is done."""

    def update(self, n: int) -> Any:
        """`n` more are done."""
        ...

    def close(self) -> Any:
        """All are done, or no more will be."""
        ...


class _None:
    def update(self, n: int) -> None:
        pass

    def close(self) -> None:
        pass


def available() -> bool:
    """Whether tqdm is installed."""
    return importlib.util.find_spec("tqdm") is not None


def bar(wanted: bool, total: int | None, unit: str) -> Bar:
    """A bar, or what does nothing; raises InvalidInputError if it is wanted and tqdm missing."""
    if not wanted:
        return _None()
    if not available():
        raise InvalidInputError(
            "progress needs tqdm: pip install 'triptych[client]'", param="progress"
        )
    from tqdm import tqdm  # noqa: PLC0415  # an extra

    return tqdm(total=total, unit=unit, disable=None)  # None: unless stderr is a terminal
