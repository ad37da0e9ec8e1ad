"""Does a heat map show what the classifier looks at? Cover its hottest area and see.

The deletion test of Petsiuk et al., RISE, BMVC 2018 (arXiv:1806.07421), at one area. Two controls
cover an area of the same size and shape: the hot one moved at random, and the hot one of another
image, which lies where hot areas usually lie, so that a map that only points at the middle gains
nothing over it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

AREA = 0.15  # of the image: less hides little, more hides most objects wherever it lies
_Z_95 = 1.959963984540054  # 97.5th percentile of the normal distribution

Images = NDArray[np.uint8]
Probabilities = Callable[[Images], NDArray[np.floating]]
"""Classify uint8 [N,H,W,3] as probabilities [N,C]."""


@dataclass(frozen=True)
class Mean:
    """A mean with its 95 % interval, by the normal approximation."""

    value: float
    half_width: float

    @classmethod
    def of(cls, value_N: NDArray[np.floating]) -> Mean:
        """Mean over rows."""
        deviation = float(value_N.std(ddof=1)) if len(value_N) > 1 else math.nan
        return cls(float(value_N.mean()), _Z_95 * deviation / math.sqrt(len(value_N)))

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.value - self.half_width

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.value + self.half_width


@dataclass(frozen=True)
class Deletion:
    """By how much the top class' probability falls, mean over images, 0 to 1."""

    area: float
    """Share of the image that is covered."""
    hot: Mean
    moved: Mean
    borrowed: Mean
    advantage: Mean
    """Of the hot area over the moved one, image by image."""
    advantage_over_borrowed: Mean


def hottest(heatmap_Nhw: NDArray[np.floating], area: float = AREA) -> NDArray[np.bool_]:
    """The hottest cells [N, h, w] of each map that make up `area`, one at least."""
    rows, height, width = heatmap_Nhw.shape
    cells = max(1, round(area * height * width))
    order_NC = np.argsort(-heatmap_Nhw.reshape(rows, -1), axis=1, kind="stable")
    mask_NC = np.zeros((rows, height * width), np.bool_)
    np.put_along_axis(mask_NC, order_NC[:, :cells], values=True, axis=1)
    return mask_NC.reshape(heatmap_Nhw.shape)


def move(mask_Nhw: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Each mask shifted at random, around the edges, and not by nothing."""
    rows, height, width = mask_Nhw.shape
    step_N = rng.integers(1, height * width, rows)
    down_N, right_N = np.divmod(step_N, width)
    return np.stack(
        [
            np.roll(mask, (down, right), axis=(0, 1))
            for mask, down, right in zip(mask_Nhw, down_N, right_N, strict=True)
        ]
    )


def cover(image_NHWC: Images, mask_Nhw: NDArray[np.bool_]) -> Images:
    """Fill the masked cells, stretched over the image, with the image's mean colour."""
    _, height, width, _ = image_NHWC.shape
    row_H = np.arange(height) * mask_Nhw.shape[1] // height
    column_W = np.arange(width) * mask_Nhw.shape[2] // width
    mask_NHW = mask_Nhw[:, row_H][:, :, column_W]
    mean_NC = np.rint(image_NHWC.mean(axis=(1, 2))).astype(np.uint8)
    return np.where(mask_NHW[..., None], mean_NC[:, None, None], image_NHWC)


def deletion_test(
    classify: Probabilities,
    image_NHWC: Images,
    before_NC: NDArray[np.floating],
    heatmap_Nhw: NDArray[np.floating],
    rng: np.random.Generator,
) -> Deletion:
    """Cover by heat map, and by both controls; maps of one cell have no elsewhere.

    `before_NC` are the probabilities of the images as they are.
    """
    assert heatmap_Nhw[0].size > 1, "a map of one cell points nowhere"
    top_N = before_NC.argmax(axis=1)
    row_N = np.arange(len(top_N))
    mask_Nhw = hottest(heatmap_Nhw)

    def fall(covering_Nhw: NDArray[np.bool_]) -> NDArray[np.floating]:
        after_NC = classify(cover(image_NHWC, covering_Nhw))
        fallen_N: NDArray[np.floating] = before_NC[row_N, top_N] - after_NC[row_N, top_N]
        return fallen_N

    hot_N, moved_N = fall(mask_Nhw), fall(move(mask_Nhw, rng))
    borrowed_N = fall(mask_Nhw[rng.permutation(len(mask_Nhw))])
    return Deletion(
        area=float(mask_Nhw.mean()),
        hot=Mean.of(hot_N),
        moved=Mean.of(moved_N),
        borrowed=Mean.of(borrowed_N),
        advantage=Mean.of(hot_N - moved_N),
        advantage_over_borrowed=Mean.of(hot_N - borrowed_N),
    )
