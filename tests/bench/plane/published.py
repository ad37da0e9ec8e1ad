"""What others published of their networks: data with a source, not measured here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.bench.plane.networks import Network, mobilenetv2, repvgg, resnet

SOURCE = "https://github.com/chenyaofo/pytorch-cifar-models"
"""Its README's table of CIFAR-10, whose trained weights anyone can have there."""
TEST_IMAGES = 10_000  # CIFAR-10's whole test split, as pixels; ours are half of it, as JPEG


@dataclass(frozen=True)
class Published:
    """A network, its top-1 accuracy (0 to 1), and its multiply-adds and parameters in millions."""

    name: str
    accuracy: float
    multiply_adds_m: float
    """Of the network as it is trained: a RepVGG block then has a 1x1 convolution beside its 3x3."""
    parameters_m: float
    build: Callable[[], Network]


PUBLISHED = (
    Published("resnet20", 0.9260, 40.81, 0.27, partial(resnet, 20)),
    Published("resnet56", 0.9437, 125.75, 0.86, partial(resnet, 56)),
    Published("mobilenetv2_x0_5", 0.9288, 27.97, 0.70, partial(mobilenetv2, 0.5)),
    Published("repvgg_a0", 0.9439, 489.08, 7.84, partial(repvgg, (0.75, 0.75, 0.75, 2.5))),
    Published("repvgg_a2", 0.9498, 1850.10, 26.82, partial(repvgg, (1.5, 1.5, 1.5, 2.75))),
)
