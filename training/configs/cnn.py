"""Settings of a classifier's run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from training.config import KindConfig, require


@dataclass(frozen=True)
class NetworkConfig:
    """Which network, and how wide."""

    architecture: Literal["softmax", "textbook", "airbench"] = "airbench"
    widths: tuple[int, ...] = (64, 256, 256)
    """Channels of each group; multiples of 16 fill the processor's vectors."""
    convolutions: int = 2
    """In each of airbench's groups: 2, or 3 with a shortcut around the second and the third."""

    def __post_init__(self) -> None:
        widths = self.widths
        require(self.convolutions in (2, 3), "convolutions", self.convolutions, "2 or 3")
        require(len(widths) > 0 and min(widths) > 0, "widths", widths, "positive")


@dataclass(frozen=True)
class AugmentConfig:
    """What is done to training images; all off is the textbook's way."""

    flip: bool = False
    translate_px: int = 0
    cutout_px: int = 0
    cutmix: float = 0.0
    """Share of the images that have a square of another's pasted in, and a part of its label."""
    first_px: int = 0
    """Side that images are shrunk to in the first epoch and grow from; 0 leaves them as they are.
    Early epochs learn what is coarse, at a cost that falls with the square of the side."""
    grown_by: float = 0.6
    """Share of the epochs after which images have their full size again."""

    def __post_init__(self) -> None:
        first = self.first_px
        require(0 <= self.translate_px <= 16, "translate_px", self.translate_px, "in 0..16")
        require(0 <= self.cutout_px <= 32, "cutout_px", self.cutout_px, "in 0..32")
        require(0 <= self.cutmix <= 1, "cutmix", self.cutmix, "in [0, 1]")
        require(first == 0 or 16 <= first <= 512, "first_px", first, "0 or in 16..512")
        require(0 <= self.grown_by <= 1, "grown_by", self.grown_by, "in [0, 1]")


@dataclass(frozen=True)
class DistillationConfig:
    """How much a fit listens to the teacher that `--teacher` names."""

    weight: float = 0.0
    """Share of the loss that is the distance from the teacher's answers, in place of the labels'; 0
    has no teacher."""
    temperature: float = 1.0
    """What the logits of both are divided by: above 1, unlikely classes count for more."""

    def __post_init__(self) -> None:
        require(0 <= self.weight <= 1, "weight", self.weight, "in [0, 1]")
        require(self.temperature > 0, "temperature", self.temperature, "above 0")


@dataclass(frozen=True)
class CnnConfig(KindConfig):
    """Everything that a classifier's run is made of."""

    network: NetworkConfig = NetworkConfig()
    augment: AugmentConfig = AugmentConfig()
    distillation: DistillationConfig = DistillationConfig()
    label_smoothing: float = 0.0
    """Share of the target spread over all classes (Szegedy et al. 2016)."""
    mirrored: bool = False
    """Answer by the mean of the logits of the image and of its mirror image, in the graph that is
    served: twice the work for half a point of accuracy."""
    pruned: float = 0.0
    """Share of the images, those of the least loss when last seen, of which an epoch shows every
    other one, for twice the weight (Qin et al. 2024, arXiv:2303.04947); 0 shows all."""
    validation_share: float = 0.0
    """Share of the training images held out to choose the best epoch and to stop early; 0 keeps
    the last epoch, and the test images stay out of every choice either way."""

    def __post_init__(self) -> None:
        smoothing, share = self.label_smoothing, self.validation_share
        require(0 <= smoothing < 1, "label_smoothing", smoothing, "in [0, 1)")
        require(0 <= share < 1, "validation_share", share, "in [0, 1)")
        taught, pruned = self.distillation.weight, self.pruned
        require(0 <= pruned < 1, "pruned", pruned, "in [0, 1)")
        require(
            not (pruned and self.privacy.epsilon),
            "pruned",
            pruned,
            "0 for a private fit, whose guarantee counts on images that are drawn by chance alone",
        )
        require(
            not (taught and self.privacy.epsilon),
            "distillation.weight",
            taught,
            "0 for a private fit: what a teacher says may tell of the examples it learnt from",
        )
        require(
            share > 0 or self.fit.patience == 0,
            "validation_share",
            share,
            "above 0 for fit.patience to have something to judge by",
        )
