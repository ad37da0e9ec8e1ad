"""The two image classifiers that the shipped one must beat."""

from __future__ import annotations

import torch
from torch import nn


class SoftmaxRegression(nn.Module):
    """Logistic regression on the pixels: what is reached without any convolution.

    It has the shape of a network with a trunk (the pixels, averaged to 8x8) so that it exports
    and explains itself like the others.
    """

    def __init__(self, classes: int, size: int) -> None:
        super().__init__()
        # Every pixel becomes a channel of a 1x1 map: the mean over the map is then the pixel.
        self.trunk = nn.PixelUnshuffle(size)
        self.classifier = nn.Linear(3 * size * size, classes)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Normalised images [B,3,H,W] to logits [B,classes]."""
        logits: torch.Tensor = self.classifier(self.trunk(x_BCHW).mean(dim=(2, 3)))
        return logits


class TextbookConvNet(nn.Module):
    """conv 32 3x3, pool, conv 64 3x3, pool, dense: the network of the first lesson."""

    def __init__(self, classes: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for width in widths:
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            inputs = width
        self.trunk = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Normalised images [B,3,H,W] to logits [B,classes]."""
        logits: torch.Tensor = self.classifier(self.trunk(x_BCHW).mean(dim=(2, 3)))
        return logits
