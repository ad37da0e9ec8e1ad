"""How much of its training text a character model's samples hold, beside text it never saw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from training.plots.drawing import BLUE, GREY, RED, drawing

BINS = 40  # at most: a bar for each length while lengths are few


def plot_overlaps(
    sample_characters: Sequence[int],
    unseen_characters: Sequence[int],
    path: Path,
    *,
    limit: int,
    title: str = "Longest passage shared with the training text",
) -> Path:
    """Shares of samples, and of pieces of held-out text, by their longest verbatim passage.

    `limit` is the length in characters beyond which a sentence counts as recited.
    """
    longest = max(*sample_characters, *unseen_characters, limit)
    width = -(-longest // BINS)
    edge = np.arange(0, longest + 2 * width, width) - 0.5
    with drawing(path, height_in=3.8) as figure:
        axes = figure.add_subplot()
        for characters, colour, label in (
            (unseen_characters, GREY, "held-out text of the author"),
            (sample_characters, BLUE, "the model's samples"),
        ):
            share = np.full(len(characters), 100.0 / len(characters))
            axes.hist(
                characters,
                bins=edge.tolist(),
                weights=share,
                color=colour,
                alpha=0.6,
                label=f"{label}: median {np.median(characters):.0f}, longest {max(characters)}",
            )
        axes.axvline(limit, color=RED, linestyle="--", label=f"recited: a sentence above {limit}")
        axes.set(xlabel="Characters", ylabel="Share, %")
        axes.grid(axis="y")
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2, fontsize=9)
        axes.set_title(title, pad=58)
    return path
