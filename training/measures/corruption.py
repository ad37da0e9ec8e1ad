"""Common corruptions of photographs, each at three strengths.

After Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations, ICLR 2019 (arXiv:1903.12261): the strengths are severities 1, 3 and 5 of their
CIFAR-10-C.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Images = NDArray[np.uint8]
Corrupt = Callable[[Images, float, np.random.Generator], Images]

ROWS = 500  # corrupted at a time: float64 copies of all would take a gigabyte


def corrupt(name: str, image_NHWC: Images, strength: int, rng: np.random.Generator) -> Images:
    """uint8 [N,H,W,3] under the corruption `name` at `strength` 1, 2 or 3."""
    apply, amounts = CORRUPTIONS[name]
    amount = amounts[strength - 1]
    starts = range(0, len(image_NHWC), ROWS)
    parts = [apply(image_NHWC[start : start + ROWS], amount, rng) for start in starts]
    return np.concatenate(parts)


def _levels(share_NHWC: NDArray[np.float64]) -> Images:
    levels: Images = np.rint(share_NHWC.clip(0.0, 1.0) * 255.0).astype(np.uint8)
    return levels


def _noise(image_NHWC: Images, deviation: float, rng: np.random.Generator) -> Images:
    """Independent normal noise; the deviation is a share of the whole range."""
    return _levels(image_NHWC / 255.0 + rng.normal(0.0, deviation, image_NHWC.shape))


def _blur(image_NHWC: Images, sigma_px: float, rng: np.random.Generator) -> Images:
    """A Gaussian of `sigma_px`, cut off at four of them; edges repeat their last pixel."""
    reach = max(1, round(4 * sigma_px))
    tap_K = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_px) ** 2)
    tap_K /= tap_K.sum()
    blurred = image_NHWC / 255.0
    for axis in (1, 2):
        size = blurred.shape[axis]
        edges = [(reach, reach) if at == axis else (0, 0) for at in range(4)]
        padded = np.pad(blurred, edges, mode="edge")
        blurred = sum(
            tap * padded.take(range(offset, offset + size), axis=axis)
            for offset, tap in enumerate(tap_K)
        )
    return _levels(blurred)


def _brighten(image_NHWC: Images, more: float, rng: np.random.Generator) -> Images:
    """Add to the value of hue, saturation and value: all channels by one factor, black to grey."""
    share = image_NHWC / 255.0
    value = share.max(axis=3, keepdims=True)
    raised = np.minimum(value + more, 1.0)
    factor = np.divide(raised, value, out=np.zeros_like(value), where=value > 0)
    return _levels(np.where(value > 0, share * factor, raised))


def _flatten(image_NHWC: Images, left: float, rng: np.random.Generator) -> Images:
    """Leave a share of the contrast: each channel nearer to its mean over the image."""
    share = image_NHWC / 255.0
    mean = share.mean(axis=(1, 2), keepdims=True)
    return _levels((share - mean) * left + mean)


def _jpeg(image_NHWC: Images, quality: float, rng: np.random.Generator) -> Images:
    """Through a JPEG file of that quality, 1 to 100."""
    decoded = np.empty_like(image_NHWC)
    for row, image_HWC in enumerate(image_NHWC):
        file = io.BytesIO()
        Image.fromarray(image_HWC).save(file, "JPEG", quality=int(quality))
        with Image.open(file) as image:
            decoded[row] = np.asarray(image)
    return decoded


CORRUPTIONS: Mapping[str, tuple[Corrupt, tuple[float, float, float]]] = {
    "noise": (_noise, (0.04, 0.08, 0.10)),
    "blur": (_blur, (0.4, 0.7, 1.0)),
    "brightness": (_brighten, (0.05, 0.15, 0.30)),
    "contrast": (_flatten, (0.75, 0.40, 0.15)),
    "jpeg": (_jpeg, (80, 58, 40)),
}
"""By name: how, and how much at strengths 1, 2 and 3."""
