"""Image classification: cross-entropy on augmented images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from training.augment import alternating_flip, cutmix, cutout, shrink, translate
from training.configs.cnn import AugmentConfig, CnnConfig
from training.data.sets import ImageData, ImageSet
from training.networks.airbench import Airbench
from training.networks.growth import widened
from training.networks.textbook import SoftmaxRegression, TextbookConvNet
from training.networks.whitening import WHITENED_IMAGES, Whitening
from training.pruning import Pruning
from training.seeds import derive, order
from training.tasks.base import Batch, Losses, Phase, Task, channels_last, in_chunks
from training.teacher import Teacher, distance

SPLIT_SEED = 1
SETTLING_BATCHES = 20  # ten thousand images of the shipped preset: a fifth of an epoch


class CnnTask(Task):
    """Batches of augmented images, cross-entropy, accuracy on images held out."""

    served = "network"

    def __init__(self, config: CnnConfig, data: ImageData, device: torch.device) -> None:
        self.config, self.device = config, device
        torch.manual_seed(derive(config.fit.seed, "weights"))
        network = build_network(config, len(data.classes), data.train.images.shape[1])
        network = channels_last(network.to(device))
        self.modules = {"network": network}
        self.phases = (Phase("train", network, self.loss, config.optimizer),)
        self.mean, self.deviation = channel_statistics(data)
        images, labels = data.train.images, data.train.labels
        for module in network.modules():
            if isinstance(module, Whitening):
                every = max(1, len(images) // WHITENED_IMAGES)  # they may be sorted by class
                some = torch.from_numpy(images[::every].copy()).to(device)
                module.fit(normalise(some, self.mean, self.deviation))
        self.held_out, self.prefix = data.test, "test"
        kept, validation = split_training(config, data)
        images, labels = kept.images, kept.labels
        if validation is not None:
            self.held_out, self.prefix = validation, "val"
            self.monitor = ("val_accuracy", "max")
        self.images = torch.from_numpy(images).to(device)
        self.labels = torch.from_numpy(labels).to(device)
        self.examples = len(self.images)
        shown = self.examples
        self._pruning: Pruning | None = None
        if config.pruned:
            self._pruning = Pruning(self.examples, config.pruned, config.fit.seed).to(device)
            self.modules["pruning"] = self._pruning
            shown = self._pruning.shown_images
        self.steps_per_epoch = shown // config.fit.batch_size
        self._order = (-1, torch.empty(0))
        self._teacher: Teacher | None = None

    def follow(self, teachers: Sequence[Path]) -> None:
        """Hear the mean of these graphs' answers as well."""
        self._teacher = Teacher(teachers)

    def batch(self, epoch: int, step: int) -> Batch:
        """Every image once an epoch, or those that pruning chose; the last incomplete batch is left
        out.
        """
        size = self.config.fit.batch_size
        start, end = step * size, (step + 1) * size
        if self._pruning is not None:
            self._pruning.choose(epoch, epoch / self.config.fit.epochs)
            index_B, weight_B, seen_B = self._pruning.pick(start, end)
            batch = self._augmented(index_B, epoch, seen_B)
            return {**batch, "index": index_B, "weight": weight_B}
        if self._order[0] != epoch:
            shuffled = order(len(self.images), self.config.fit.seed, epoch)
            self._order = (epoch, shuffled.to(self.device))
        return self.gather(self._order[1][start:end], epoch)

    def gather(self, index_B: torch.Tensor, epoch: int) -> Batch:
        """uint8 images to normalised, augmented ones."""
        return self._augmented(index_B, epoch, epoch)

    def _augmented(self, index_B: torch.Tensor, epoch: int, turn: int | torch.Tensor) -> Batch:
        x_BCHW = normalise(self.images[index_B], self.mean, self.deviation)
        augment = self.config.augment
        if augment.flip:
            x_BCHW = alternating_flip(x_BCHW, index_B, turn)
        x_BCHW = translate(x_BCHW, augment.translate_px, reflect=True)
        x_BCHW = cutout(x_BCHW, augment.cutout_px)
        batch = {"label": self.labels[index_B]}
        if augment.cutmix:
            x_BCHW, other_B, batch["kept"] = cutmix(x_BCHW, augment.cutmix)
            batch["pasted"] = batch["label"][other_B]
        whole_BCHW = x_BCHW
        x_BCHW = shrink(x_BCHW, side(augment, x_BCHW.shape[-1], epoch / self.config.fit.epochs))
        batch["image"] = x_BCHW.contiguous(memory_format=torch.channels_last)
        if self._teacher is not None:  # which knows images of full size alone
            batch["shown"] = to_levels(whole_BCHW, self.mean, self.deviation)
        return batch

    def fit_in(self, weights: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """A narrower one of the shipped networks, with as many classes, is grown."""
        network = self.modules["network"]
        if not isinstance(network, Airbench):
            return weights
        return widened(weights, network.state_dict(), last="classifier.weight")

    def settle(self, network: nn.Module) -> None:
        """Batch norms behind averaged filters see other maps than behind any of those (Izmailov et
        al. 2018, arXiv:1803.05407, section 3.2): measured over training batches as they are at the
        fit's end.
        """
        update_bn(self._last_images(), network)

    def _last_images(self) -> Iterator[torch.Tensor]:
        for step in range(min(SETTLING_BATCHES, self.steps_per_epoch)):
            torch.manual_seed(derive(self.config.fit.seed, "settle", step))
            yield self.batch(self.config.fit.epochs, step)["image"]

    def loss(self, batch: Batch) -> Losses:
        """Cross-entropy of the smoothed labels; of both, by their areas, where two are mixed; and
        the distance from a teacher's answers.
        """
        logits_BK = self.modules["network"](batch["image"]).float()
        nats_B = self._nats(logits_BK, batch["label"])
        if "pasted" in batch:
            pasted_B = self._nats(logits_BK, batch["pasted"])
            nats_B = torch.lerp(pasted_B, nats_B, batch["kept"])
        if self._teacher is not None:
            taught, answer_BK = self.config.distillation, self._teacher.answers(batch["shown"])
            heard_B = distance(logits_BK, answer_BK, taught.temperature)
            nats_B = torch.lerp(nats_B, heard_B, taught.weight)
        if self._pruning is not None:
            self._pruning.learn(batch["index"], nats_B, batch.get("kept"))
            nats_B = nats_B * batch["weight"]
        accuracy = (logits_BK.detach().argmax(1) == batch["label"]).float().mean()
        return nats_B.mean(), {"train_accuracy": accuracy}

    def _nats(self, logits_BK: torch.Tensor, label_B: torch.Tensor) -> torch.Tensor:
        smoothing = self.config.label_smoothing
        return F.cross_entropy(logits_BK, label_B, label_smoothing=smoothing, reduction="none")

    def validate(self, network: nn.Module, folder: Path, epoch: int) -> dict[str, float]:
        """Accuracy and cross-entropy (nats) on the held-out images."""
        logits_NK = predict_logits(
            network,
            self.held_out.images,
            self.mean,
            self.deviation,
            self.device,
            mirrored=self.config.mirrored,
        )
        labels = torch.from_numpy(self.held_out.labels)
        return {
            f"{self.prefix}_accuracy": float((logits_NK.argmax(1) == labels).float().mean()),
            f"{self.prefix}_loss_nats": float(F.cross_entropy(logits_NK, labels)),
        }


def side(augment: AugmentConfig, full_px: int, progress: float) -> int:
    """Of the images at `progress` in [0, 1) of a training, in pixels: growing in steps of 4."""
    if augment.first_px == 0 or progress >= augment.grown_by:
        return full_px
    grown = (full_px - augment.first_px) * progress / augment.grown_by
    return min(full_px, augment.first_px + 4 * round(grown / 4))


def split_training(config: CnnConfig, data: ImageData) -> tuple[ImageSet, ImageSet | None]:
    """The images to fit on, and those of the training split that are held out, if any are.

    They are the same whatever the seed: a run that starts from another's weights must not judge
    itself, or fit its temperature, by images that the other learnt from.
    """
    images, labels = data.train.images, data.train.labels
    if not config.validation_share:
        return data.train, None
    shuffled = order(len(images), SPLIT_SEED, -1).numpy()
    kept = len(images) - max(1, round(len(images) * config.validation_share))
    return (
        ImageSet(images[shuffled[:kept]], labels[shuffled[:kept]]),
        ImageSet(images[shuffled[kept:]], labels[shuffled[kept:]]),
    )


def build_network(config: CnnConfig, classes: int, size: int) -> nn.Module:
    """The configured network, with weights from torch's global generator."""
    network = config.network
    if network.architecture == "softmax":
        return SoftmaxRegression(classes, size)
    if network.architecture == "textbook":
        return TextbookConvNet(classes, network.widths)
    return Airbench(classes, network.widths, network.convolutions)


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


def to_levels(
    x_BCHW: torch.Tensor, mean: tuple[float, ...], deviation: tuple[float, ...]
) -> torch.Tensor:
    """The images that `normalise` makes into these: uint8 [B,H,W,3]."""
    x_BHWC = x_BCHW.permute(0, 2, 3, 1)
    levels = x_BHWC * x_BHWC.new_tensor(deviation) + x_BHWC.new_tensor(mean)
    return levels.round().clamp(0, 255).to(torch.uint8)


@torch.no_grad()
def predict_logits(
    network: nn.Module,
    images: NDArray[np.uint8],
    mean: tuple[float, ...],
    deviation: tuple[float, ...],
    device: torch.device,
    *,
    mirrored: bool = False,
    rows: int = 500,
) -> torch.Tensor:
    """float32 [N,classes] on the CPU, computed in float32 whatever the training's precision; with
    `mirrored` their mean over the images and their mirror images.
    """
    parts = []
    for chunk in in_chunks(torch.from_numpy(images), rows):
        x_BCHW = normalise(chunk.to(device), mean, deviation)
        logits_BK = network(x_BCHW)
        if mirrored:
            logits_BK = (logits_BK + network(x_BCHW.flip(3))) * 0.5
        parts.append(logits_BK.cpu())
    return torch.cat(parts)
