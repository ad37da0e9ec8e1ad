"""The work that every peer does: JPEG bytes to label and score, tensors to probabilities.

Runs in the peers' environments: Pillow, numpy and onnxruntime are all that it may import. The
graph is the file that the environment variable BENCH_GRAPH names.
"""

from __future__ import annotations

import io
import os
from functools import cache

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image
from typing_extensions import TypedDict


class Answer(TypedDict):
    """The most likely class and its probability."""

    label: str
    score: float


class Classifier:
    """The graph in onnxruntime with one intra-op thread."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(
            os.environ["BENCH_GRAPH"], options, providers=["CPUExecutionProvider"]
        )
        self.size = tuple(self._session.get_inputs()[0].shape[1:])

    def probabilities(self, image_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """float32 [N, C] of uint8 [N, H, W, 3]."""
        (found,) = self._session.run(["probability"], {"image": image_NHWC})
        return np.asarray(found)

    def classify(self, images: list[NDArray[np.uint8]]) -> list[Answer]:
        """An answer for each decoded picture, run as one batch."""
        probability_NC = self.probabilities(np.stack(images))
        best_N = probability_NC.argmax(axis=1)
        return [
            {"label": f"class {best}", "score": float(row[best])}
            for best, row in zip(best_N.tolist(), probability_NC, strict=True)
        ]

    def tensor(self, raw: bytes) -> NDArray[np.uint8]:
        """The bytes of a tensor as uint8 [N, H, W, 3]."""
        return np.frombuffer(raw, dtype=np.uint8).reshape(-1, *self.size)


def decode(jpeg: bytes) -> NDArray[np.uint8]:
    """A JPEG as uint8 [H, W, 3]."""
    with Image.open(io.BytesIO(jpeg)) as image:
        return np.asarray(image.convert("RGB"))


@cache
def classifier() -> Classifier:
    """The process's one classifier."""
    return Classifier()
