"""Small galleries: made-up images, seen by a judge that is a plain function."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.data.sets import ImageData, ImageSet
from training.gallery import Gallery
from training.judge import Judge, Verdict

CLASSES = ("ant", "bee", "cow")
SIDE = 8


class Eye(Judge):
    """Knows a class by the channel that is brightest; its features are 2x2 blocks of pixels."""

    def __init__(self) -> None:
        self.title, self.labels = "eye v1", ("cow", "ant", "bee", "dog")

    def see(self, images: NDArray[np.uint8]) -> Verdict:
        blocks = images.reshape(len(images), SIDE // 4, 4, SIDE // 4, 4, 3).mean(axis=(2, 4))
        brightest = images.mean(axis=(1, 2)).argmax(axis=1)
        judged = self.positions(CLASSES)[brightest]
        return Verdict(judged, blocks.reshape(len(images), -1).astype(np.float32))


def draw(rng: np.random.Generator, label_N: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Blots, brightest in the channel of their class: uint8 [N,8,8,3]."""
    blots = rng.integers(0, 180, (len(label_N), SIDE // 2, SIDE // 2, 3))
    blots = blots.repeat(2, axis=1).repeat(2, axis=2)
    blots[np.arange(len(label_N)), :, :, label_N] += 75
    return blots.astype(np.uint8)


def make_data(each: int = 60) -> ImageData:
    rng = np.random.default_rng(0)
    label_N = np.tile(np.arange(len(CLASSES)), each)
    train, test = (ImageSet(draw(rng, label_N), label_N) for _ in range(2))
    return ImageData("blots", "nowhere", "0" * 64, CLASSES, train, test)


def make_gallery(images: NDArray[np.uint8], asked: NDArray[np.int64], data: ImageData) -> Gallery:
    eye = Eye()
    return Gallery(
        images=images,
        asked=asked,
        drawn=eye.see(images),
        test=eye.see(data.test.images),
        train=eye.see(data.train.images),
        data=data,
        judge=eye,
        positions=eye.positions(data.classes),
    )
