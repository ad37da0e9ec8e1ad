"""Pictures changed a little by someone who knows the network, so that it errs.

The attacks are the Adversarial Robustness Toolbox's (Nicolae et al. 2018, arXiv:1807.01069).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.classifier import Classifier
from training.errors import ExportError
from training.rebuilt import RebuiltClassifier

Images = NDArray[np.uint8]

STEPS = 10
STEP_SHARE = 0.25  # of the largest change: ten steps reach every corner, and can turn back
ROWS = 100
SAME = 1e-3  # largest difference in probability between the rebuilt network and its graph


class Attacker:
    """Attacks through the gradients of the float32 graph at `graph`, rebuilt in torch.

    Changes are bounded in every channel of every pixel (L-infinity), in grey levels of 255. What
    comes out is rounded to grey levels, as a picture that can be sent to the service. Runs on one
    thread, so that the figures do not depend on how many there are. Raises ExportError if the
    rebuilt network does not do what its graph does.
    """

    def __init__(self, graph: Path, image_NHWC: Images) -> None:
        # Seconds of imports that nothing else in training needs.
        from art.estimators.classification import PyTorchClassifier  # noqa: PLC0415

        rebuilt = RebuiltClassifier(graph).eval()
        some = image_NHWC[:ROWS]
        with torch.no_grad(), _one_thread():
            found = rebuilt(torch.from_numpy(some).float()).softmax(dim=1).numpy()
        away = float(np.abs(found - Classifier(graph).probabilities(some)).max())
        if not away <= SAME:
            raise ExportError(f"{graph}: rebuilt in torch, its probabilities differ by {away:.3g}")
        self._network = PyTorchClassifier(
            model=rebuilt,
            loss=nn.CrossEntropyLoss(),
            input_shape=image_NHWC.shape[1:],
            nb_classes=found.shape[1],
            clip_values=(0.0, 255.0),
            device_type="cpu",
        )

    def fgsm(self, image_NHWC: Images, label_N: NDArray[np.int64], levels: int) -> Images:
        """One step along the gradient's sign (Goodfellow et al. 2015, arXiv:1412.6572)."""
        from art.attacks.evasion import FastGradientMethod  # noqa: PLC0415

        attack = FastGradientMethod(self._network, norm=np.inf, eps=levels, batch_size=ROWS)
        with _one_thread():
            changed = attack.generate(image_NHWC.astype(np.float32), label_N)
        return _rounded(changed, image_NHWC, levels)

    def pgd(self, image_NHWC: Images, label_N: NDArray[np.int64], levels: int, seed: int) -> Images:
        """Ten projected steps from a random start (Madry et al. 2018, arXiv:1706.06083)."""
        from art.attacks.evasion import ProjectedGradientDescent  # noqa: PLC0415

        attack = ProjectedGradientDescent(
            self._network,
            norm=np.inf,
            eps=levels,
            eps_step=levels * STEP_SHARE,
            max_iter=STEPS,
            num_random_init=1,
            batch_size=ROWS,
            verbose=False,
        )
        with _one_thread(), _seeded(seed):
            changed = attack.generate(image_NHWC.astype(np.float32), label_N)
        return _rounded(changed, image_NHWC, levels)


def _rounded(changed: NDArray[np.float32], image_NHWC: Images, levels: int) -> Images:
    original = image_NHWC.astype(np.int16)
    low, high = np.maximum(original - levels, 0), np.minimum(original + levels, 255)
    rounded: Images = np.clip(np.rint(changed), low, high).astype(np.uint8)
    return rounded


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The toolbox draws from numpy's global generator."""
    before = np.random.get_state()
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        np.random.set_state(before)
