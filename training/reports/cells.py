"""Cells that several reports' tables have."""

from __future__ import annotations

from training.measures.proportion import Proportion


def share_cells(proportion: Proportion) -> tuple[str, str, str]:
    """The share, its 95 % interval, and of how many."""
    low, high = proportion.low, proportion.high
    return f"{proportion.value:.1%}", f"{low:.1%} to {high:.1%}", f"{proportion.trials:,}"
