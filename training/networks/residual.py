"""The GAN's guide: a residual network (He et al. 2016, arXiv:1512.03385) laid out for processors.

Behind the fixed whitening filters the first convolution halves the size, so no norm, shortcut or
learnt activation is ever done at full resolution, where memory rather than arithmetic would set
the pace; what follows is 3x3 convolutions of many channels, which run near the processor's peak.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from training.networks.whitening import Whitening


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the first strides where the block halves the size."""

    def __init__(self, inputs: int, outputs: int, *, halves: bool) -> None:
        super().__init__()
        stride = 2 if halves else 1
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if halves or inputs != outputs:
            # The mean of 2x2 sees every pixel, where a strided 1x1 convolution skips three of
            # four (He, T. et al. 2019, arXiv:1812.01187, ResNet-D).
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(2) if halves else nn.Identity(),
                nn.Conv2d(inputs, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """[B,C,H,W] to [B,C',H',W']."""
        y = F.relu(self.norm1(self.conv1(x_BCHW)))
        y = self.norm2(self.conv2(y)) + self.shortcut(x_BCHW)
        return F.relu(y)


class Residual(nn.Module):
    """Whitening, a strided convolution, stages of residual blocks, and a linear classifier of the
    mean of the last map.
    """

    def __init__(self, classes: int, widths: tuple[int, ...], blocks: tuple[int, ...]) -> None:
        super().__init__()
        whitening, inputs = Whitening(), widths[0]
        layers: list[nn.Module] = [
            whitening,
            nn.Conv2d(whitening.channels, inputs, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
        ]
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for block in range(count):
                layers.append(Block(inputs, width, halves=stage > 0 and block == 0))
                inputs = width
        self.trunk = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Normalised images [B,3,H,W] to logits [B,classes]; H and W multiples of
        2 ** len(widths).
        """
        logits: torch.Tensor = self.classifier(self.trunk(x_BCHW).mean(dim=(2, 3)))
        return logits
