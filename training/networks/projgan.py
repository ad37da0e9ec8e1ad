"""The shipped GAN: conditional batch norm against a spectrally normalised projection critic.

Generator: residual up-blocks as in SN-GAN (Miyato et al. 2018, arXiv:1802.05957) with conditional
batch norm (Dumoulin et al. 2017). Critic: projection (Miyato & Koyama 2018, arXiv:1802.05637) and
an auxiliary class head (Odena et al. 2017) on one strided trunk.
"""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose scale and shift are looked up by class."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale = nn.Embedding(classes, channels)
        self.shift = nn.Embedding(classes, channels)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x_BCHW: torch.Tensor, label_B: torch.Tensor) -> torch.Tensor:
        """[B,C,H,W] and int64 [B] to [B,C,H,W]."""
        scale = self.scale(label_B)[:, :, None, None]
        shift = self.shift(label_B)[:, :, None, None]
        return torch.addcmul(shift, self.norm(x_BCHW), scale)


class ScaleShift(nn.Module):
    """A conditional batch norm at rest: one multiply-add, looked up by class."""

    def __init__(self, norm: ConditionalBatchNorm) -> None:
        super().__init__()
        statistics = norm.norm
        mean, variance = statistics.running_mean, statistics.running_var
        assert mean is not None and variance is not None
        scale_KC = norm.scale.weight.detach() * torch.rsqrt(variance + statistics.eps)
        self.scale = nn.Parameter(scale_KC, requires_grad=False)
        self.shift = nn.Parameter(norm.shift.weight.detach() - mean * scale_KC, requires_grad=False)

    def forward(self, x_BCHW: torch.Tensor, label_B: torch.Tensor) -> torch.Tensor:
        """[B,C,H,W] and int64 [B] to [B,C,H,W]."""
        shift_BC11 = self.shift[label_B][:, :, None, None]
        return x_BCHW * self.scale[label_B][:, :, None, None] + shift_BC11


def fold_conditional_norms(network: nn.Module) -> nn.Module:
    """A copy of a fitted network in which each batch norm's statistics are part of its table."""
    folded = copy.deepcopy(network).eval()
    for module in list(folded.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, ConditionalBatchNorm):
                setattr(module, name, ScaleShift(child))
    return folded


class UpBlock(nn.Module):
    """Doubles the size: a transposed and a plain convolution beside an upsampled shortcut.

    The transposed convolution of kernel 4 and stride 2 costs 4 taps per output pixel where
    upsampling and a 3x3 convolution would cost 9.
    """

    def __init__(self, classes: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = ConditionalBatchNorm(classes, inputs)
        self.up = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)
        self.norm2 = ConditionalBatchNorm(classes, outputs)
        self.conv = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x_BCHW: torch.Tensor, label_B: torch.Tensor) -> torch.Tensor:
        """[B,C,H,W] and int64 [B] to [B,C',2H,2W]."""
        y = self.up(F.relu(self.norm1(x_BCHW, label_B)))
        y = self.conv(F.relu(self.norm2(y, label_B)))
        # 1x1 before upsampling: the same numbers for a quarter of the work.
        beside = F.interpolate(self.shortcut(x_BCHW), scale_factor=2.0, mode="nearest")
        total: torch.Tensor = y + beside
        return total


class ProjectionGenerator(nn.Module):
    """Noise and a class to an image; the last doubling is a pixel shuffle (Shi et al. 2016)."""

    def __init__(self, classes: int, noise: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.width = widths[0]
        self.first = nn.Linear(noise, 16 * widths[0])
        self.blocks = nn.ModuleList(
            UpBlock(classes, inputs, outputs) for inputs, outputs in pairwise(widths)
        )
        self.norm = ConditionalBatchNorm(classes, widths[-1])
        self.last = nn.Conv2d(widths[-1], 12, 3, padding=1)

    def forward(self, noise_BZ: torch.Tensor, label_B: torch.Tensor) -> torch.Tensor:
        """float32 [B,Z] and int64 [B] to images [B,3,32,32] in -1..1 (for three widths)."""
        x = self.first(noise_BZ).unflatten(1, (self.width, 4, 4))
        for block in self.blocks:
            x = block(x, label_B)
        x = self.last(F.relu(self.norm(x, label_B)))
        image: torch.Tensor = torch.tanh(F.pixel_shuffle(x, 2))
        return image


class ProjectionCritic(nn.Module):
    """Image and class to a realness score and class logits."""

    def __init__(self, classes: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for width in widths:
            layers += [spectral_norm(nn.Conv2d(inputs, width, 4, 2, 1)), nn.LeakyReLU(0.1)]
            inputs = width
        self.trunk = nn.Sequential(*layers)
        self.score = spectral_norm(nn.Linear(inputs, 1))
        self.projection = spectral_norm(nn.Embedding(classes, inputs))
        self.classifier = spectral_norm(nn.Linear(inputs, classes))
        # Spectral norm holds the head's logits near 1; this lets the auxiliary loss be confident.
        self.temperature = nn.Parameter(torch.tensor(1.0))

    def forward(
        self, image_BCHW: torch.Tensor, label_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Images in -1..1 and int64 [B] to scores [B] and class logits [B,classes]."""
        feature_BD = self.trunk(image_BCHW).sum(dim=(2, 3))
        score_B = self.score(feature_BD).squeeze(1)
        score_B = score_B + (self.projection(label_B) * feature_BD).sum(dim=1)
        return score_B, self.classifier(feature_BD) * self.temperature
