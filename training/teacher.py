"""Published classifiers that a fit follows: their answers are targets beside the labels.

Distillation after Hinton et al. 2015 (arXiv:1503.02531), the teacher asked about the very images
that the student sees, changed as they are (Beyer et al. 2022, arXiv:2106.05237).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from service.contract import Manifest
from training.classifier import Classifier
from training.data.sets import ImageData
from training.errors import ConfigError


def check_teacher(manifest: Manifest, data: ImageData) -> None:
    """Raise ConfigError unless it answers about such images with the same classes, in their
    order.
    """
    if manifest.kind != "cnn":
        raise ConfigError(
            f"{manifest.name} is a {manifest.kind}; a teacher is a classifier", field="teacher"
        )
    reads = manifest.input("image").shape[1:]
    if manifest.labels != data.classes or reads != data.train.images.shape[1:]:
        raise ConfigError(
            f"{manifest.name} tells {', '.join(manifest.labels)} in images of {reads}; the data "
            f"have {', '.join(data.classes)} in {data.train.images.shape[1:]}",
            field="teacher",
        )


class Teacher:
    """The mean of what `graphs` answer, run by onnxruntime on as many threads as torch has.

    Several networks that came about apart know more together than each (Hinton et al., section 3).
    """

    def __init__(self, graphs: Sequence[Path]) -> None:
        assert graphs, "someone has to answer"
        self._classifiers = [Classifier(graph) for graph in graphs]
        self._threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self._threads)

    def answers(self, image_BHWC: torch.Tensor) -> torch.Tensor:
        """uint8 [B,H,W,3] on any device to probabilities, float32 [B,C] there."""
        parts = np.array_split(image_BHWC.cpu().numpy(), self._threads)
        found = list(self._pool.map(self._answer, filter(len, parts)))
        return torch.from_numpy(np.concatenate(found)).to(image_BHWC.device)

    def _answer(self, image_BHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        answers = [each.probabilities(image_BHWC) for each in self._classifiers]
        mean_BC: NDArray[np.float32] = np.mean(answers, axis=0, dtype=np.float32)
        return mean_BC


def distance(
    logits_BC: torch.Tensor, answer_BC: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """KL(teacher, student) of each row in nats, float32 [B], both softened by `temperature`, times
    its square, which keeps the gradients' size.
    """
    target_BC = (answer_BC.clamp_min(1e-9).log() / temperature).log_softmax(dim=1)
    student_BC = (logits_BC / temperature).log_softmax(dim=1)
    nats_BC = F.kl_div(student_BC, target_BC, reduction="none", log_target=True)
    return nats_BC.sum(dim=1) * temperature**2
