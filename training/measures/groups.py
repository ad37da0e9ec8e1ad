"""Groups of images that a classifier may serve unequally: quartiles of what an image is like."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.measures.proportion import Proportion

Images = NDArray[np.uint8]

QUARTERS = 4
_LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue: ITU-R BT.601, as JPEG has it


def qualities(image_NHWC: Images) -> Mapping[str, NDArray[np.float64]]:
    """What each image of uint8 [N,H,W,3] is like, [N] by name.

    brightness and contrast: mean and deviation of the luma, 0 to 255; colour: mean distance of a
    pixel's largest and smallest channel, 0 to 255; detail: bytes as a JPEG of quality 75.
    """
    luma_NHW = image_NHWC @ _LUMA
    spread_NHW = image_NHWC.max(axis=3).astype(np.float64) - image_NHWC.min(axis=3)
    return {
        "brightness": luma_NHW.mean(axis=(1, 2)),
        "contrast": luma_NHW.std(axis=(1, 2)),
        "colour": spread_NHW.mean(axis=(1, 2)),
        "detail": np.array([_jpeg_bytes(image_HWC) for image_HWC in image_NHWC], np.float64),
    }


def quarters(value_N: NDArray[np.float64]) -> NDArray[np.int64]:
    """The quarter [N] in which each value lies, 0 the least; as equal in number as can be."""
    rank_N = np.empty(len(value_N), np.int64)
    rank_N[np.argsort(value_N, kind="stable")] = np.arange(len(value_N))
    quarter_N: NDArray[np.int64] = rank_N * QUARTERS // max(len(value_N), 1)
    return quarter_N


def shares(
    right_N: NDArray[np.bool_], group_N: NDArray[np.int64], *, groups: int
) -> list[Proportion]:
    """Share right in each group."""
    return [
        Proportion(int(right_N[group_N == group].sum()), int((group_N == group).sum()))
        for group in range(groups)
    ]


def _jpeg_bytes(image_HWC: Images) -> int:
    file = io.BytesIO()
    Image.fromarray(image_HWC).save(file, "JPEG", quality=75)
    return file.tell()
