"""A language model's licence to talk: do its samples write, or recite the training text?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.card import Figure
from training.data.text import TextData
from training.kinds.base import Evaluation
from training.measures.memorisation import (
    LONG_CHARACTERS,
    Overlap,
    long_sentences,
    longest_overlaps,
    recited,
)
from training.measures.proportion import Proportion
from training.measures.text import known_words, pieces, whole_words
from training.plots.memorisation import plot_overlaps
from training.writer import Writer

SAMPLES, CHARACTERS, TEMPERATURE = 100, 1000, 0.8
PAGE_FILE = "passages.md"
PAGE_PASSAGES = 20

NOTES = {
    "sample_recited_share": (
        f"share of {SAMPLES} samples of {CHARACTERS:,} characters at temperature {TEMPERATURE:g} "
        f"that hold a training sentence longer than {LONG_CHARACTERS} characters word for word"
    ),
    "sample_recited_share_high": "upper end of its 95 % Wilson interval",
    "sample_longest_overlap": (
        "characters of the longest passage that any of these samples shares word for word with the "
        "training text"
    ),
    "sample_median_overlap": "the median sample's longest such passage",
    "val_longest_overlap": "the longest of as long pieces of held-out text by the author",
    "val_median_overlap": "the median piece's",
    "sample_known_words": "share of these samples' words that occur in the training text",
    "val_known_words": "the same share of held-out text by the author",
}


def reciting(samples: Sequence[str], data: TextData) -> NDArray[np.bool_]:
    """Whether each sample [N] holds a long training sentence word for word."""
    return np.array([bool(found) for found in recited(samples, long_sentences(data.train))])


def recited_share(samples: Sequence[str], data: TextData) -> Proportion:
    """Share of samples that hold a long training sentence word for word."""
    found = reciting(samples, data)
    return Proportion(successes=int(found.sum()), trials=len(found))


def talk(writer: Writer, seed: int) -> list[str]:
    """The samples that are looked at."""
    return writer.write([TEMPERATURE] * SAMPLES, CHARACTERS, seed)


def report_recitation(writer: Writer, data: TextData, seed: int, folder: Path) -> Evaluation:
    """Look at samples, and at held-out text for comparison.

    The page `passages.md` quotes the training text: it is for the run's own folder.
    """
    written, unseen = talk(writer, seed), pieces(data.val, SAMPLES, CHARACTERS)
    share = recited_share(written, data)
    copied = longest_overlaps(written, data.train)
    copied_N = [overlap.characters for overlap in copied]
    shared_N = [overlap.characters for overlap in longest_overlaps(unseen, data.train)]
    words = known_words("\n".join(whole_words(sample) for sample in written), data.train)
    metrics = {
        "sample_recited_share": share.value,
        "sample_recited_share_high": share.high,
        "sample_longest_overlap": float(max(copied_N)),
        "sample_median_overlap": float(np.median(copied_N)),
        "val_longest_overlap": float(max(shared_N)),
        "val_median_overlap": float(np.median(shared_N)),
        "sample_known_words": words.value,
        "val_known_words": known_words(data.val, data.train).value,
    }
    plot_overlaps(copied_N, shared_N, folder / "overlaps.png", limit=LONG_CHARACTERS)
    (folder / PAGE_FILE).write_text(_list_passages(copied), "utf-8")
    figure = Figure("overlaps.png", "What samples share with the training text word for word")
    return Evaluation(metrics, figures=(figure,))


def _list_passages(overlaps: Sequence[Overlap]) -> str:
    longest = sorted(enumerate(overlaps), key=lambda item: -item[1].characters)[:PAGE_PASSAGES]
    lines = [f"- sample {row}, {found.characters}: `{found.text!r}`" for row, found in longest]
    return "\n".join(["# Passages that stand in the training text as well", "", *lines, ""])
