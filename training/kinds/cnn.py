"""Image classification with a convolutional network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from training.augment import alternating_flip, cutout, translate
from training.config import FitConfig, KindConfig, OptimizerConfig, ScheduleConfig, require
from training.data.images import load_images
from training.data.sets import ImageData
from training.kinds.base import Batch, Losses, Phase, Task
from training.networks.resnet import ResNet
from training.networks.textbook import SoftmaxRegression, TextbookConvNet
from training.seeds import derive, order


@dataclass(frozen=True)
class NetworkConfig:
    """Which network, how wide and how deep."""

    architecture: Literal["softmax", "textbook", "resnet"] = "resnet"
    widths: tuple[int, ...] = (64, 128, 256)
    """Channels of each stage; multiples of 16 fill the processor's vectors."""
    blocks: int = 1
    """Residual blocks in each stage."""

    def __post_init__(self) -> None:
        require(len(self.widths) > 0 and min(self.widths) > 0, "widths", self.widths, "positive")
        require(self.blocks >= 1, "blocks", self.blocks, "1 or more")


@dataclass(frozen=True)
class AugmentConfig:
    """What is done to training images; all off is the textbook's way."""

    flip: bool = False
    translate_px: int = 0
    cutout_px: int = 0

    def __post_init__(self) -> None:
        require(0 <= self.translate_px <= 16, "translate_px", self.translate_px, "in 0..16")
        require(0 <= self.cutout_px <= 32, "cutout_px", self.cutout_px, "in 0..32")


@dataclass(frozen=True)
class CnnConfig(KindConfig):
    """Everything that a classifier's run is made of."""

    network: NetworkConfig = NetworkConfig()
    augment: AugmentConfig = AugmentConfig()
    label_smoothing: float = 0.0
    """Share of the target spread over all classes (Szegedy et al. 2016)."""

    def __post_init__(self) -> None:
        smoothing = self.label_smoothing
        require(0 <= smoothing < 1, "label_smoothing", smoothing, "in [0, 1)")


TEXTBOOK = CnnConfig(
    network=NetworkConfig(architecture="textbook", widths=(32, 64)),
    fit=FitConfig(epochs=10, batch_size=32),
    optimizer=OptimizerConfig(name="sgd", lr=0.01, momentum=0.9),
    schedule=ScheduleConfig(name="constant", warmup=0.0),
)

STANDARD = CnnConfig(
    # 39 million multiplications an image: one core passes 20 epochs in less than an hour.
    network=NetworkConfig(architecture="resnet", widths=(48, 128, 256), blocks=1),
    # Flips and shifts keep 20 epochs from being learnt by heart; a hole would pay only in longer runs.
    augment=AugmentConfig(flip=True, translate_px=4),
    label_smoothing=0.1,
    # Large enough to keep the processor's vectors full, small enough for 8,000 updates.
    fit=FitConfig(epochs=20, batch_size=128, ema_decay=0.998, validate_every=2),
    # Nesterov's SGD with a high peak beats Adam on this network (airbench's choice as well).
    optimizer=OptimizerConfig(name="sgd", lr=0.2, momentum=0.9, nesterov=True, weight_decay=5e-4),
    # A straight fall to nothing: short schedules gain most from time spent at small rates.
    schedule=ScheduleConfig(name="linear", warmup=0.15),
)


class CnnTask(Task):
    """Batches of augmented images, cross-entropy, accuracy on the test split."""

    served = "network"
    monitor = ("val_accuracy", "max")

    def __init__(self, config: CnnConfig, data: ImageData, device: torch.device) -> None:
        self.config, self.data, self.device = config, data, device
        torch.manual_seed(derive(config.fit.seed, "weights"))
        network = build_network(config, len(data.classes), data.train.images.shape[1])
        network = network.to(device, memory_format=torch.channels_last)
        self.modules = {"network": network}
        self.phases = (Phase("train", network, self.loss, config.optimizer),)
        self.images = torch.from_numpy(data.train.images).to(device)
        self.labels = torch.from_numpy(data.train.labels).to(device)
        self.steps_per_epoch = len(self.images) // config.fit.batch_size
        self.mean, self.deviation = channel_statistics(data)
        self._order = (-1, torch.empty(0))

    def batch(self, epoch: int, step: int) -> Batch:
        """uint8 images to normalised, augmented ones; the last incomplete batch is left out."""
        if self._order[0] != epoch:
            shuffled = order(len(self.images), self.config.fit.seed, epoch)
            self._order = (epoch, shuffled.to(self.device))
        size = self.config.fit.batch_size
        index_B = self._order[1][step * size : (step + 1) * size]
        x_BCHW = normalise(self.images[index_B], self.mean, self.deviation)
        augment = self.config.augment
        if augment.flip:
            x_BCHW = alternating_flip(x_BCHW, index_B, epoch)
        x_BCHW = translate(x_BCHW, augment.translate_px, reflect=True)
        x_BCHW = cutout(x_BCHW, augment.cutout_px)
        x_BCHW = x_BCHW.contiguous(memory_format=torch.channels_last)
        return {"image": x_BCHW, "label": self.labels[index_B]}

    def loss(self, batch: Batch) -> Losses:
        """Cross-entropy of the smoothed labels."""
        logits_BK = self.modules["network"](batch["image"]).float()
        loss = F.cross_entropy(
            logits_BK, batch["label"], label_smoothing=self.config.label_smoothing
        )
        accuracy = (logits_BK.detach().argmax(1) == batch["label"]).float().mean()
        return loss, {"train_accuracy": accuracy}

    def validate(self, network: nn.Module, folder: Path, epoch: int) -> dict[str, float]:
        """Accuracy and cross-entropy (nats) on the test split."""
        logits = torch.from_numpy(predict_logits(network, self.data, self.device))
        labels = torch.from_numpy(self.data.test.labels)
        return {
            "val_accuracy": float((logits.argmax(1) == labels).float().mean()),
            "val_loss_nats": float(F.cross_entropy(logits, labels)),
        }


def build_network(config: CnnConfig, classes: int, size: int) -> nn.Module:
    """The configured network, with weights from torch's global generator."""
    network = config.network
    if network.architecture == "softmax":
        return SoftmaxRegression(classes, size)
    if network.architecture == "textbook":
        return TextbookConvNet(classes, network.widths)
    return ResNet(classes, network.widths, network.blocks)


def channel_statistics(data: ImageData) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel of the training images, in grey levels 0..255."""
    images = data.train.images
    return (
        tuple(float(value) for value in images.mean(axis=(0, 1, 2))),
        tuple(max(float(value), 1.0) for value in images.std(axis=(0, 1, 2))),
    )


def normalise(
    image_BHWC: torch.Tensor, mean: tuple[float, ...], deviation: tuple[float, ...]
) -> torch.Tensor:
    """uint8 [B,H,W,3] to float32 [B,3,H,W] of mean 0 and deviation 1."""
    x_BHWC = image_BHWC.float().sub(image_BHWC.new_tensor(mean, dtype=torch.float32))
    x_BHWC = x_BHWC.div(image_BHWC.new_tensor(deviation, dtype=torch.float32))
    return x_BHWC.permute(0, 3, 1, 2)


@torch.no_grad()
def predict_logits(
    network: nn.Module, data: ImageData, device: torch.device, *, rows: int = 500
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """float32 [N,classes] of the test split, in float32 arithmetic."""
    mean, deviation = channel_statistics(data)
    images = torch.from_numpy(data.test.images)
    parts = [
        network(normalise(chunk.to(device), mean, deviation)).cpu()
        for chunk in images.split(rows)
    ]
    return torch.cat(parts).numpy()
