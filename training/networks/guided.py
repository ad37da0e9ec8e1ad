"""The shipped GAN's critic: it looks at pictures through the eyes of a classifier.

A small classifier, the guide, is fitted to the real images first and then rests. The critic
compares real and drawn images by their pixels and by the guide's feature maps at every size, one
score each (Projected GANs: Sauer et al. 2021, arXiv:2111.01007), and the guide tells the generator
whether its picture shows the class that was asked for (Lee & Seok 2019, arXiv:1708.00598;
StyleGAN-XL: Sauer et al. 2022, arXiv:2202.00273).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from training.networks.residual import Block, Residual

HEAD_WIDTH = 64  # channels in which a head weighs what it sees


class Guide(nn.Module):
    """A residual classifier of one block a stage that also shows each stage's feature map."""

    def __init__(self, classes: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.network = Residual(classes, widths, (1,) * len(widths))

    def forward(self, image_BCHW: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Images in -1..1 to feature maps, the largest first, and class logits [B,classes]."""
        maps, x = [], image_BCHW
        for layer in self.network.trunk:
            x = layer(x)
            if isinstance(layer, Block):
                maps.append(x)
        return maps, self.network.classifier(x.mean(dim=(2, 3)))


class Head(nn.Module):
    """Scores a feature map: is it a real image's, and one of this class's?

    The class enters by projection (Miyato & Koyama 2018, arXiv:1802.05637).
    """

    def __init__(self, classes: int, inputs: int, *, halves: bool) -> None:
        super().__init__()
        self.mix = spectral_norm(nn.Conv2d(inputs, HEAD_WIDTH, 1))
        self.conv = spectral_norm(
            nn.Conv2d(HEAD_WIDTH, HEAD_WIDTH, 3, stride=2 if halves else 1, padding=1)
        )
        self.score = spectral_norm(nn.Linear(HEAD_WIDTH, 1))
        self.projection = spectral_norm(nn.Embedding(classes, HEAD_WIDTH))

    def forward(self, map_BCHW: torch.Tensor, label_B: torch.Tensor) -> torch.Tensor:
        """[B,C,H,W] and int64 [B] to scores [B]."""
        x = F.leaky_relu(self.mix(map_BCHW), 0.1)
        feature_BD = F.leaky_relu(self.conv(x), 0.1).sum(dim=(2, 3))
        score_B: torch.Tensor = self.score(feature_BD).squeeze(1)
        score_B += (self.projection(label_B) * feature_BD).sum(dim=1)
        return score_B


class GuidedCritic(nn.Module):
    """A strided trunk for the pixels, and a head for it and for each of the guide's maps."""

    def __init__(
        self, classes: int, widths: tuple[int, ...], guide_widths: tuple[int, ...]
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for width in widths:
            layers += [spectral_norm(nn.Conv2d(inputs, width, 4, 2, 1)), nn.LeakyReLU(0.1)]
            inputs = width
        self.trunk = nn.Sequential(*layers)
        self.heads = nn.ModuleList([Head(classes, inputs, halves=False)])
        last = len(guide_widths) - 1
        for stage, width in enumerate(guide_widths):
            self.heads.append(Head(classes, width, halves=stage < last))

    def forward(
        self, image_BCHW: torch.Tensor, maps: list[torch.Tensor], label_B: torch.Tensor
    ) -> torch.Tensor:
        """Images in -1..1, the guide's maps of them and int64 [B] to scores [B, 1 + maps]."""
        seen = [self.trunk(image_BCHW), *maps]
        scores = [head(x, label_B) for head, x in zip(self.heads, seen, strict=True)]
        return torch.stack(scores, dim=1)
