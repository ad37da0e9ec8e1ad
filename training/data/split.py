"""Which images are held out for testing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError

HELD_OUT = 0.1  # share of each class held out when the source has no test split
SEED = 0  # fixed, so that the held-out images are the same in every run


def assign_test(
    labels: NDArray[np.int64],
    splits: NDArray[np.str_],
    *,
    classes: tuple[str, ...],
    source: str,
) -> NDArray[np.bool_]:
    """Mark the test images [N]: those the source marks, or else a tenth of each class.

    Args:
        labels: [N], indices into `classes`.
        splits: [N], "train" or "test", or "" throughout if the source has no splits.
        classes: names, for messages.
        source: name of the data set, for messages.

    Raises DataError if there are fewer than two classes, or a class lacks images in a split.

    """
    if len(classes) < 2:
        raise DataError(
            f"{source} has one class only, {classes[0]!r}; "
            "a classifier needs two sub-folders of images or more"
        )
    if (splits != "").all():
        is_test: NDArray[np.bool_] = splits == "test"
        for index, name in enumerate(classes):
            of_class = is_test[labels == index]
            if of_class.all() or not of_class.any():
                missing = "training" if of_class.all() else "test"
                raise DataError(
                    f"{source}: class {name!r} has no {missing} images; "
                    "every class needs some in both splits"
                )
        return is_test
    is_test = np.zeros(len(labels), np.bool_)
    random = np.random.default_rng(SEED)
    for index, name in enumerate(classes):
        rows = np.flatnonzero(labels == index)
        if len(rows) < 2:
            raise DataError(
                f"{source}: class {name!r} has one image; a class needs two or more, "
                "one to learn from and one to test on"
            )
        held_out = max(1, round(HELD_OUT * len(rows)))
        is_test[random.permutation(rows)[:held_out]] = True
    return is_test
