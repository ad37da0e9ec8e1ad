"""A look at the data before anything is trained on them: tables to print and plots to open."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.data.sets import ImageData
from training.data.text import TextData
from training.plots.data import (
    plot_channels,
    plot_characters,
    plot_class_counts,
    plot_image_sizes,
    plot_line_lengths,
)
from training.plots.pictures import plot_samples

SHEET_COLUMNS = 10
COMMONEST = 12  # characters listed in the table; the plot has them all


@dataclass(frozen=True)
class Description:
    """What was found: text to print, and the plots that were written."""

    text: str
    files: tuple[Path, ...]


def describe_images(data: ImageData, out_dir: Path) -> Description:
    """Count classes, channels and original sizes; draw them, and a sheet of examples."""
    classes = len(data.classes)
    counts = {
        "train": np.bincount(data.train.labels, minlength=classes),
        "test": np.bincount(data.test.labels, minlength=classes),
    }
    histogram = _channel_histogram(data.train.images)
    files = [
        plot_class_counts(counts, data.classes, out_dir / "classes.png"),
        plot_channels(histogram, out_dir / "channels.png"),
        plot_samples(
            data.train.images,
            data.train.labels,
            data.classes,
            out_dir / "examples.png",
            per_class=SHEET_COLUMNS,
        ),
        plot_samples(
            _mean_images(data), np.arange(classes), data.classes, out_dir / "means.png", per_class=1
        ),
    ]
    parts = [
        _facts(data.name, data.source, data.sha256, data.license),
        _table(pd.DataFrame({"class": data.classes, **counts}), "Images by class"),
        _table(_channel_table(histogram), "Channels of the training images, 0 to 1"),
    ]
    if data.original_sizes is not None:
        files.append(plot_image_sizes(data.original_sizes, out_dir / "sizes.png"))
        sizes = pd.DataFrame(data.original_sizes, columns=["width", "height"])
        summary = sizes.describe().loc[["min", "50%", "max"]].rename(index={"50%": "median"})
        parts.append(_table(summary.reset_index(names=""), "Original sizes, pixels"))
    return Description(text="\n\n".join(parts), files=tuple(files))


def describe_text(data: TextData, out_dir: Path) -> Description:
    """Count characters, words and lines of each split; draw them."""
    text = data.train + data.val
    characters = Counter(text)
    splits = pd.DataFrame(
        [
            {
                "split": name,
                "characters": len(part),
                "words": len(part.split()),
                "lines": part.count("\n"),
                "distinct": len(set(part)),
            }
            for name, part in (("train", data.train), ("val", data.val))
        ]
    )
    commonest = pd.DataFrame(
        [
            {"character": repr(character), "count": count, "share": f"{count / len(text):.2%}"}
            for character, count in characters.most_common(COMMONEST)
        ]
    )
    lengths = np.array([len(line) for line in text.splitlines()], np.int64)
    files = (
        plot_characters(characters, out_dir / "characters.png"),
        plot_line_lengths(lengths, out_dir / "lines.png"),
    )
    unseen = sorted(set(data.val) - set(data.train))
    parts = [
        _facts(data.name, data.source, data.sha256, data.license),
        _table(splits, "Splits"),
        _table(commonest, f"Commonest of {len(characters)} characters"),
    ]
    if unseen:
        parts.append(f"In val but never in train: {' '.join(map(repr, unseen))}")
    return Description(text="\n\n".join(parts), files=files)


def _facts(name: str, source: str, sha256: str, licence: str) -> str:
    lines = [f"{name} from {source}", f"sha256 {sha256}"]
    return "\n".join([*lines, licence] if licence else lines)


def _table(frame: pd.DataFrame, title: str) -> str:
    return f"{title}\n{frame.to_string(index=False)}"


def _channel_histogram(image_NHWC: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count [3, 256] of pixel values per channel."""
    return np.stack(
        [np.bincount(image_NHWC[..., channel].ravel(), minlength=256) for channel in range(3)]
    )


def _channel_table(histogram: NDArray[np.int64]) -> pd.DataFrame:
    value = np.arange(256) / 255
    share = histogram / histogram.sum(axis=1, keepdims=True)
    mean = share @ value
    deviation = np.sqrt(share @ value**2 - mean**2)
    return pd.DataFrame(
        {
            "channel": ["red", "green", "blue"],
            "mean": mean.round(4),
            "standard deviation": deviation.round(4),
        }
    )


def _mean_images(data: ImageData) -> NDArray[np.uint8]:
    """The mean training image of each class [C, H, W, 3]."""
    means = [
        data.train.images[data.train.labels == index].mean(axis=0)
        for index in range(len(data.classes))
    ]
    return np.stack(means).round().astype(np.uint8)
