"""Settings of a GAN's run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from training.config import KindConfig, OptimizerConfig, require


@dataclass(frozen=True)
class NetworkConfig:
    """Which pair of networks, and how wide."""

    architecture: Literal["dcgan", "projection", "guided"] = "guided"
    noise: int = 64
    """Length of the noise vector."""
    generator_widths: tuple[int, ...] = (256, 128, 48)
    """Channels at 4x4, 8x8 and 16x16; dcgan reads the last alone."""
    critic_widths: tuple[int, ...] = (64, 128, 256)
    """Channels at 16x16, 8x8 and 4x4; dcgan reads the first alone."""
    guide_widths: tuple[int, ...] = (64, 128, 256)
    """Channels of the guide at 16x16, 8x8 and 4x4."""

    def __post_init__(self) -> None:
        require(self.noise >= 1, "noise", self.noise, "1 or more")
        for key in ("generator_widths", "critic_widths", "guide_widths"):
            widths = getattr(self, key)
            require(len(widths) == 3 and min(widths) > 0, key, widths, "three positive widths")


@dataclass(frozen=True)
class GuideConfig:
    """How the guide is fitted, and how much it has to say; the guided critic sees by it as well."""

    epochs: int = 0
    """Of the run's first ones, in which the guide alone learns."""
    optimizer: OptimizerConfig = OptimizerConfig(name="sgd", lr=0.05, nesterov=True)
    weight: float = 0.0
    """Of the guide's cross-entropy in the generator's loss."""
    translate_px: int = 2
    """Largest shift of what it learns from and of what it is shown, so that no single pixel
    sways it."""

    def __post_init__(self) -> None:
        require(self.epochs >= 0, "epochs", self.epochs, "0 or more")
        require(self.weight >= 0, "weight", self.weight, "0 or more")


@dataclass(frozen=True)
class GanConfig(KindConfig):
    """Everything that a GAN's run is made of. `optimizer` is the generator's."""

    network: NetworkConfig = NetworkConfig()
    critic_optimizer: OptimizerConfig = OptimizerConfig()
    loss: Literal["cross_entropy", "hinge"] = "hinge"
    class_weight: float = 0.0
    """Weight of the auxiliary class loss: on the critic for real images, on the generator for its
    own (Odena et al. 2017). Only the projection critic has a class head."""
    guide: GuideConfig = GuideConfig()
    flip: bool = False
    augment_translate_px: int = 0
    """DiffAugment's shift, seen by the critic alone (Zhao et al. 2020)."""
    augment_cutout_px: int = 0
    augment_colour: float = 0.0
    samples_per_class: int = 500
    """Drawn for the evaluation: as many as the usual test split has of each class."""

    def __post_init__(self) -> None:
        require(self.samples_per_class >= 2, "samples_per_class", self.samples_per_class, "2 up")
        require(
            self.fit.patience == 0, "fit.patience", self.fit.patience, "0: no loss judges a GAN"
        )
        require(self.class_weight >= 0, "class_weight", self.class_weight, "0 or more")
        require(
            self.class_weight == 0 or self.network.architecture == "projection",
            "class_weight",
            self.class_weight,
            "0 but for the projection critic, which has a class head",
        )
        guided = self.network.architecture == "guided"
        require(
            guided <= self.guide.epochs < self.fit.epochs,
            "guide.epochs",
            self.guide.epochs,
            "fewer than fit.epochs, and above 0 for the guided critic",
        )
        require(
            self.guide.weight == 0 or self.guide.epochs > 0,
            "guide.weight",
            self.guide.weight,
            "0 where no guide is fitted: guide.epochs is 0",
        )
