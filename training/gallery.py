"""Samples of a generator hung beside real images, all seen by one judge."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.sets import ImageData
from training.errors import DataError
from training.judge import Judge, Verdict
from training.painter import Painter


@dataclass(frozen=True)
class Gallery:
    """What the reports on a generator look at; as many samples of each class, none rejected."""

    images: NDArray[np.uint8]
    """[N,H,W,3], the samples."""
    asked: NDArray[np.int64]
    """[N], the classes asked for: indices into `data.classes`, in rising order."""
    drawn: Verdict
    """On the samples."""
    test: Verdict
    """On the test images, which neither generator nor judge has seen."""
    train: Verdict
    """On the training images, which both have."""
    data: ImageData
    judge: Judge
    positions: NDArray[np.int64]
    """[C], where the data's classes stand among the judge's."""

    @property
    def classes(self) -> int:
        """How many classes were asked for."""
        return len(self.data.classes)


def appoint(judge: Path | None) -> Judge:
    """The judge in this version folder; raises DataError that says how to get one."""
    if judge is None:
        raise DataError(
            "a published classifier must judge the samples; train one first "
            "(run --kind cnn), or name its version folder with --judge",
            field="judge",
        )
    return Judge(judge)


def ask(data: ImageData, per_class: int) -> NDArray[np.int64]:
    """The classes to ask for: `per_class` times each, in order."""
    return np.repeat(np.arange(len(data.classes)), per_class)


def hang(painter: Painter, data: ImageData, judge: Judge, *, per_class: int, seed: int) -> Gallery:
    """Draw the samples and let the judge look at them, and at the real images."""
    asked = ask(data, per_class)
    images = painter.sample(asked, seed)
    return Gallery(
        images=images,
        asked=asked,
        drawn=judge.see(images),
        test=judge.see(data.test.images),
        train=judge.see(data.train.images),
        data=data,
        judge=judge,
        positions=judge.positions(data.classes),
    )
