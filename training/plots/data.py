"""Plots of data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.plots.drawing import BLUE, GREEN, ORANGE, RED, drawing

MAX_BARS = 80  # beyond this bars are too thin to label


def plot_class_counts(
    counts: Mapping[str, NDArray[np.int64]], classes: Sequence[str], path: Path
) -> Path:
    """Bars of how many images each class has, per split: `counts` maps a split to [C]."""
    position = np.arange(len(classes))
    with drawing(path, height_in=min(1.6 + 0.3 * len(classes), 9.0)) as figure:
        axes = figure.add_subplot()
        left = np.zeros(len(classes), np.int64)
        for split, count_C in counts.items():
            axes.barh(position, count_C, left=left, height=0.72, label=split)
            left = left + count_C
        axes.set_yticks(position, classes)
        axes.invert_yaxis()
        axes.set_title("Images by class", pad=24)
        axes.set(xlabel="Images")
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, borderaxespad=0.2)
    return path


def plot_image_sizes(size_N2: NDArray[np.int32], path: Path) -> Path:
    """Width against height in pixels of the original images [N, 2], larger dots for more."""
    size_S2, count_S = np.unique(size_N2, axis=0, return_counts=True)
    first = f"{size_S2[0, 0]} x {size_S2[0, 1]}"
    found = f"all {first}" if len(size_S2) == 1 else f"{len(size_S2):,} different"
    with drawing(path, height_in=4.0) as figure:
        axes = figure.add_subplot()
        area = 12 + 300 * count_S / count_S.max()
        axes.scatter(size_S2[:, 0], size_S2[:, 1], s=area, color=BLUE, alpha=0.5, linewidths=0)
        most = int(size_S2.max()) * 1.1
        axes.plot((0, most), (0, most), color=RED, linestyle="--", linewidth=1, label="square")
        axes.set(
            title=f"Sizes of the original images: {found}",
            xlabel="Width, pixels",
            ylabel="Height, pixels",
            xlim=(0, most),
            ylim=(0, most),
        )
        axes.grid()
        axes.legend(loc="upper left")
    return path


def plot_channels(histogram_C256: NDArray[np.int64], path: Path) -> Path:
    """Share of pixels by value, for red, green and blue: `histogram_C256` is [3, 256]."""
    share = 100 * histogram_C256 / histogram_C256.sum(axis=1, keepdims=True)
    with drawing(path, height_in=3.0) as figure:
        axes = figure.add_subplot()
        names = (("red", RED, "-"), ("green", GREEN, "--"), ("blue", BLUE, ":"))
        for row, (name, colour, dashes) in zip(share, names, strict=True):
            axes.plot(row, color=colour, linestyle=dashes, label=name, linewidth=1.4)
        axes.set(
            title="Pixel values by channel",
            xlabel="Value, 0 to 255",
            ylabel="Share of pixels, %",
            xlim=(0, 255),
            ylim=(0, None),
        )
        axes.grid(axis="y")
        axes.legend()
    return path


def plot_characters(counts: Mapping[str, int], path: Path) -> Path:
    """Bars of how often each character occurs, most frequent first; log scale."""
    shown = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MAX_BARS]
    with drawing(path, height_in=3.2) as figure:
        axes = figure.add_subplot()
        position = np.arange(len(shown))
        axes.bar(position, [count for _, count in shown], color=BLUE, width=0.8)
        names = [_visible(character) for character, _ in shown]
        axes.set_xticks(position, names, fontsize=8, parse_math=False)
        rest = len(counts) - len(shown)
        more = f" (the {rest} rarest left out)" if rest else ""
        axes.set(
            title=f"Characters: {len(counts)} different{more}",
            xlabel="Character (␣ space, ↵ line end)",
            ylabel="Occurrences",
            yscale="log",
            xlim=(-0.8, len(shown) - 0.2),
        )
        axes.tick_params(axis="x", length=0)
        axes.grid(axis="y")
    return path


def plot_line_lengths(length_L: NDArray[np.int64], path: Path) -> Path:
    """Histogram of line lengths in characters; the longest hundredth is gathered at the end."""
    limit = max(1, int(np.quantile(length_L, 0.99)))
    with drawing(path, height_in=2.8) as figure:
        axes = figure.add_subplot()
        step = -(-(limit + 1) // MAX_BARS)  # whole characters: no bin holds more lengths
        bins = range(0, limit + 1 + step, step)
        axes.hist(np.minimum(length_L, limit), bins=list(bins), color=ORANGE)
        axes.set(
            title=f"Line lengths: median {np.median(length_L):.0f}, longest {length_L.max():,}",
            xlabel="Characters in the line",
            ylabel="Lines",
        )
        axes.grid(axis="y")
    return path


def _visible(character: str) -> str:
    named = {" ": "␣", "\n": "↵", "\t": "⇥"}
    if character in named:
        return named[character]
    return character if character.isprintable() else f"{ord(character):x}"
