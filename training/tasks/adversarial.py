"""Adversarial drawing: a critic's turn and a generator's turn in every step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from training.augment import colour, cutout, translate
from training.configs.gan import GanConfig
from training.data.sets import ImageData
from training.gauge import SAMPLES_PER_CLASS, Gauge
from training.networks.dcgan import DcganDiscriminator, DcganGenerator
from training.networks.guided import Guide, GuidedCritic
from training.networks.projgan import ProjectionCritic, ProjectionGenerator
from training.networks.whitening import WHITENED_IMAGES, Whitening
from training.seeds import derive, generator, order
from training.tasks.base import Batch, Losses, Phase, Task, channels_last, in_chunks

Guess = tuple[list[torch.Tensor], torch.Tensor]
"""A guide's feature maps, the largest first, and class logits [B,K]."""


class GanTask(Task):
    """Two players: the critic's phase, then the generator's."""

    served = "generator"
    monitor = None  # no loss of a GAN says how good its images are: the last weights are kept
    gauge: Gauge | None = None
    """Looks at samples in every validation, where a judge is published."""

    def __init__(self, config: GanConfig, data: ImageData, device: torch.device) -> None:
        self.config, self.data, self.device = config, data, device
        self.classes = len(data.classes)
        torch.manual_seed(derive(config.fit.seed, "weights"))
        maker, critic = build_networks(config, self.classes)
        self.generator = channels_last(maker.to(device))
        self.critic = channels_last(critic.to(device))
        self.has_batch_statistics = any(
            isinstance(module, nn.BatchNorm2d) for module in critic.modules()
        )
        self.modules = {"generator": self.generator, "critic": self.critic}
        self.images = torch.from_numpy(data.train.images).to(device)
        phases: tuple[Phase, ...] = ()
        first, end = config.guide.epochs, config.fit.epochs
        self.guide: nn.Module | None = None
        if config.guide.epochs:
            self.guide = channels_last(self._build_guide().to(device))
            self.modules["guide"] = self.guide
            phases = (
                Phase("guide", self.guide, self.guide_loss, config.guide.optimizer, (0, first)),
            )
        self.phases = (
            *phases,
            Phase("critic", self.critic, self.critic_loss, config.critic_optimizer, (first, end)),
            Phase("generator", self.generator, self.generator_loss, config.optimizer, (first, end)),
        )
        self.labels = torch.from_numpy(data.train.labels).to(device)
        self.steps_per_epoch = len(self.images) // config.fit.batch_size
        self._order = (-1, torch.empty(0))

    def batch(self, epoch: int, step: int) -> Batch:
        """Real images in -1..1 [B,3,H,W] and their classes."""
        if self._order[0] != epoch:
            shuffled = order(len(self.images), self.config.fit.seed, epoch)
            self._order = (epoch, shuffled.to(self.device))
        size = self.config.fit.batch_size
        index_B = self._order[1][step * size : (step + 1) * size]
        x_BCHW = to_signed(self.images[index_B])
        if self.config.flip:
            mirrored = torch.rand(size, device=self.device) < 0.5
            x_BCHW = torch.where(mirrored[:, None, None, None], x_BCHW.flip(3), x_BCHW)
        x_BCHW = x_BCHW.contiguous(memory_format=torch.channels_last)
        return {"image": x_BCHW, "label": self.labels[index_B]}

    def critic_loss(self, batch: Batch) -> Losses:
        """Real images should score high, drawn ones low, and real ones show their class."""
        fake_B = torch.randint(0, self.classes, batch["label"].shape, device=self.device)
        with torch.no_grad():
            drawn = self._draw(fake_B)
        images = self._augment(batch["image"]), self._augment(drawn)
        if self.has_batch_statistics:
            # In one batch the real and the drawn images would give each other away.
            real, logits_BK = self._criticise(images[0], batch["label"])
            fake, _ = self._criticise(images[1], fake_B)
        else:
            label_B = torch.cat((batch["label"], fake_B))
            score, logits_BK = self._criticise(torch.cat(images), label_B)
            real, fake = score.chunk(2)
            logits_BK = logits_BK.chunk(2)[0]
        loss = realness_loss(real, True, self.config.loss)
        loss = loss + realness_loss(fake, False, self.config.loss)
        figures = {"critic_real": real.detach().mean(), "critic_fake": fake.detach().mean()}
        if self.config.class_weight:
            loss = loss + self.config.class_weight * F.cross_entropy(logits_BK, batch["label"])
            hits = logits_BK.detach().argmax(1) == batch["label"]
            figures["critic_class_real"] = hits.float().mean()
        return loss, figures

    def generator_loss(self, batch: Batch) -> Losses:
        """Drawn images should score high and show the class that was asked for."""
        label_B = torch.randint(0, self.classes, batch["label"].shape, device=self.device)
        image_BCHW = self._augment(self._draw(label_B))
        guessed = self._guess(image_BCHW)
        score, logits_BK = self._criticise(image_BCHW, label_B, guessed)
        loss = -score.mean() if self.config.loss == "hinge" else F.softplus(-score).mean()
        figures: dict[str, torch.Tensor] = {}
        opinions = [(self.config.class_weight, "critic_class_fake", logits_BK)]
        if guessed is not None:
            opinions.append((self.config.guide.weight, "guide_class_fake", guessed[1]))
        for weight, name, opinion_BK in opinions:
            if weight:
                loss = loss + weight * F.cross_entropy(opinion_BK, label_B)
                figures[name] = (opinion_BK.detach().argmax(1) == label_B).float().mean()
        return loss, figures

    def _draw(self, label_B: torch.Tensor) -> torch.Tensor:
        noise_BZ = torch.randn(len(label_B), self.config.network.noise, device=self.device)
        image: torch.Tensor = self.generator(noise_BZ, label_B)
        return image.float()

    def _build_guide(self) -> Guide:
        guide = Guide(self.classes, self.config.network.guide_widths)
        every = max(1, len(self.images) // WHITENED_IMAGES)  # they may be sorted by class
        for module in guide.modules():
            if isinstance(module, Whitening):
                module.fit(to_signed(self.images[::every].cpu()))
        return guide

    def guide_loss(self, batch: Batch) -> Losses:
        """The guide's own lessons: cross-entropy on real images."""
        assert self.guide is not None
        x_BCHW = translate(batch["image"], self.config.guide.translate_px, reflect=True)
        _, logits_BK = self.guide(x_BCHW.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits_BK.float(), batch["label"], label_smoothing=0.1)
        hits = logits_BK.detach().argmax(1) == batch["label"]
        return loss, {"guide_accuracy": hits.float().mean()}

    def _guess(self, image_BCHW: torch.Tensor) -> Guess | None:
        """The guide's feature maps and class logits, where there is a guide."""
        if self.guide is None:
            return None
        # Fitted and at rest: gradients pass through it to the drawn image, none stay.
        maps, logits_BK = self.guide.eval()(image_BCHW)
        return maps, logits_BK.float()

    def _criticise(
        self, image_BCHW: torch.Tensor, label_B: torch.Tensor, guessed: Guess | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The critic's scores [B] or [B, scores] and, where it has an opinion, class logits [B,K].

        `guessed` is what the guide makes of the images, if that is known already.
        """
        answer: torch.Tensor | tuple[torch.Tensor, torch.Tensor]
        if self.config.network.architecture == "guided":
            guessed = guessed or self._guess(image_BCHW)
            assert guessed is not None
            answer = self.critic(image_BCHW, guessed[0], label_B)
        else:
            answer = self.critic(image_BCHW, label_B)
        if isinstance(answer, tuple):
            return answer[0].float(), answer[1].float()
        return answer.float(), answer.new_zeros((len(label_B), self.classes))

    def _augment(self, image_BCHW: torch.Tensor) -> torch.Tensor:
        x = colour(image_BCHW, self.config.augment_colour)
        x = translate(x, self.config.augment_translate_px, reflect=False)
        x = cutout(x, self.config.augment_cutout_px)
        if self.guide is not None:
            x = translate(x, self.config.guide.translate_px, reflect=True)
        return x.contiguous(memory_format=torch.channels_last)

    def validate(self, network: nn.Module, folder: Path, epoch: int) -> dict[str, float]:
        """Draw a sheet of samples, always from the same noise: one row for each class."""
        network = settle_statistics(network, self.config, self.classes, self.device)
        label_B = torch.arange(self.classes, device=self.device).repeat_interleave(10)
        noise_BZ = torch.randn(
            (len(label_B), self.config.network.noise),
            generator=generator(self.config.fit.seed, "sheet"),
        ).to(self.device)
        with torch.no_grad():
            image_BCHW = network(noise_BZ, label_B).float().cpu()
        rows = to_uint8(image_BCHW).reshape(self.classes, 10, *image_BCHW.shape[2:], 3)
        sheet = rows.transpose(0, 2, 1, 3, 4).reshape(self.classes * rows.shape[2], -1, 3)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sheet).save(folder / f"epoch-{epoch:03d}.png")
        figures = {"sheet_deviation": float(image_BCHW.std(dim=0).mean())}
        return figures if self.gauge is None else figures | self._measure(network, self.gauge)

    @torch.no_grad()
    def _measure(self, network: nn.Module, gauge: Gauge) -> dict[str, float]:
        each = min(SAMPLES_PER_CLASS, self.config.samples_per_class)
        label_N = torch.arange(self.classes).repeat_interleave(each)
        draw = generator(self.config.fit.seed, "gauge")
        parts = []
        for label_B in in_chunks(label_N, 100):
            noise_BZ = torch.randn((len(label_B), self.config.network.noise), generator=draw)
            image_BCHW = network(noise_BZ.to(self.device), label_B.to(self.device))
            parts.append(to_uint8(image_BCHW.float().cpu()))
        return gauge(np.concatenate(parts), label_N.numpy())


def build_networks(config: GanConfig, classes: int) -> tuple[nn.Module, nn.Module]:
    """Generator and critic, with weights from torch's global generator."""
    network = config.network
    if network.architecture == "dcgan":
        return (
            DcganGenerator(classes, network.noise, network.generator_widths[-1]),
            DcganDiscriminator(classes, network.critic_widths[0]),
        )
    drawer = ProjectionGenerator(classes, network.noise, network.generator_widths)
    if network.architecture == "guided":
        return drawer, GuidedCritic(classes, network.critic_widths, network.guide_widths)
    return drawer, ProjectionCritic(classes, network.critic_widths)


def realness_loss(score_B: torch.Tensor, real: bool, loss: str) -> torch.Tensor:
    """What the critic pays for these scores of real or of drawn images."""
    signed = score_B if real else -score_B
    return F.relu(1 - signed).mean() if loss == "hinge" else F.softplus(-signed).mean()


@torch.no_grad()
def settle_statistics(
    network: nn.Module, config: GanConfig, classes: int, device: torch.device, batches: int = 40
) -> nn.Module:
    """Give an averaged generator the batch-norm statistics of its own activations.

    The running ones belong to weights of long ago ("standing statistics", Brock et al. 2019,
    appendix C). Changes the network in place and returns it, in evaluation mode.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over all batches
    draw = generator(config.fit.seed, "statistics")
    network.train()
    for _ in range(batches):
        noise_BZ = torch.randn((100, config.network.noise), generator=draw)
        label_B = torch.randint(0, classes, (100,), generator=draw)
        network(noise_BZ.to(device), label_B.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return network.eval()


def to_signed(image_BHWC: torch.Tensor) -> torch.Tensor:
    """Grey levels, uint8 [B,H,W,3], to float32 [B,3,H,W] in -1..1."""
    return image_BHWC.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_uint8(image_BCHW: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Images in -1..1 to grey levels, uint8 [B,H,W,3]."""
    levels = ((image_BCHW.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().numpy()
