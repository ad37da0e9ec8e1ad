"""Data sets and traffic as what can be compared: features of images, counts of classes and
characters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.images import FEATURES, image_features
from training.errors import DataError
from training.measures.drift import Profile

CHUNK = 4096  # images whose features are taken at once: 200 MiB at 32 x 32
CLASS, CHARACTER = "class", "character"

Columns = Mapping[str, Sequence[Any]]
"""Feedback: the values of each column, None where a row has none; all of one length."""


def profile_images(
    image_NHWC: NDArray[np.uint8], label_N: NDArray[np.int64], classes: Sequence[str]
) -> Profile:
    """Features of images uint8 [N, H, W, 3], and how many each class has."""
    parts = [
        image_features(image_NHWC[start : start + CHUNK])
        for start in range(0, len(image_NHWC), CHUNK)
    ]
    return Profile(
        values={name: np.concatenate([part[name] for part in parts]) for name in FEATURES}
        if parts
        else {},
        counts=profile_classes(label_N, classes).counts,
    )


def profile_classes(label_N: NDArray[np.int64], classes: Sequence[str]) -> Profile:
    """How many examples each class has."""
    count_C = np.bincount(label_N, minlength=len(classes)).tolist()
    return Profile(counts={CLASS: dict(zip(classes, count_C, strict=True))})


def profile_text(text: str) -> Profile:
    """How often each character came."""
    return Profile(counts={CHARACTER: Counter(text)})


def profile_traffic(rows: Columns) -> Profile:
    """What feedback tells of the same; raises DataError if that is nothing.

    Of pictures their features, of answers their classes, of prompts their characters: whatever
    columns were kept.
    """
    values = {
        name: np.array([value for value in rows[name] if value is not None], np.float64)
        for name in FEATURES
        if name in rows
    }
    labels = Counter(label for label in rows.get("label", ()) if label is not None)
    characters = Counter(
        character for prompt in rows.get("prompt", ()) if prompt for character in prompt
    )
    counts = {name: count for name, count in ((CLASS, labels), (CHARACTER, characters)) if count}
    values = {name: value_N for name, value_N in values.items() if len(value_N)}
    if not values and not counts:
        raise DataError(
            "the feedback holds nothing that training data have as well: name features of "
            "pictures, label, or prompt in TRIPTYCH_FEEDBACK_FIELDS"
        )
    return Profile(values=values, counts=counts)
