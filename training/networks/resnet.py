"""A small residual network that strides early.

He et al. 2016 (arXiv:1603.05027 for the two-convolution block), sized for one CPU core: at full
resolution an image costs more memory traffic than arithmetic, so the stem halves it at once.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    """Convolution without bias, then batch norm; export folds the two into one convolution."""
    padding = (kernel - 1) // 2
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False),
        nn.BatchNorm2d(outputs),
    )


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the first may stride."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv_bn(inputs, outputs, 3, stride)
        self.conv2 = conv_bn(outputs, outputs, 3, 1)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = conv_bn(inputs, outputs, 1, stride)
        # A block starts as its shortcut alone (Goyal et al. 2017, section 5.1).
        last_norm = self.conv2[1]
        assert isinstance(last_norm, nn.BatchNorm2d)
        nn.init.zeros_(last_norm.weight)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """[B,C,H,W] to [B,C',H',W']."""
        y = F.relu(self.conv1(x_BCHW))
        return F.relu(self.conv2(y) + self.shortcut(x_BCHW))


class Whitening(nn.Module):
    """Fixed 2x2 filters whose outputs, over training images, are uncorrelated and of deviation 1.

    Each filter comes with its negative, so that the ReLU behind loses nothing. Without it the
    first layer spends much of a short run on undoing the correlation of neighbouring pixels (Jordan
    2024, arXiv:2404.00498, section 3.1).
    """

    channels = 24

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Conv2d(3, self.channels, 2, bias=False).requires_grad_(False)

    @torch.no_grad()
    def fit(self, x_BCHW: torch.Tensor, floor: float = 5e-4) -> None:
        """Set the filters from normalised images; `floor` keeps faint directions small."""
        patch_PD = F.unfold(x_BCHW, 2).transpose(1, 2).flatten(0, 1)
        covariance_DD = patch_PD.T @ patch_PD / len(patch_PD)
        variance_D, direction_DD = torch.linalg.eigh(covariance_DD.double())
        filters_DD = (direction_DD / torch.sqrt(variance_D + floor)).T.float()
        filters_DCHW = filters_DD.view(-1, *self.filters.weight.shape[1:])
        self.filters.weight.copy_(torch.cat((filters_DCHW, -filters_DCHW)))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """[B,3,H,W] to [B,24,H-1,W-1]."""
        return F.relu(self.filters(x_BCHW))


class ResNet(nn.Module):
    """Stem of stride 2, then stages of `blocks` residual blocks; every stage but the first halves.

    `trunk` gives the last feature map and `classifier` is linear, so that class activation maps
    (Zhou et al. 2016) are exact.
    """

    def __init__(
        self, classes: int, widths: tuple[int, ...], blocks: int, *, whitening: bool
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if whitening:
            stem = conv_bn(Whitening.channels, widths[0], 3, 2)
            layers += [Whitening(), stem, nn.ReLU()]
        else:
            # 4x4 at stride 2 covers every pixel evenly, which 3x3 at stride 2 does not.
            layers += [conv_bn(3, widths[0], 4, 2), nn.ReLU()]
        inputs = widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(Block(inputs, width, stride))
                inputs = width
        self.trunk = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Normalised images [B,3,H,W] to logits [B,classes]."""
        logits: torch.Tensor = self.classifier(self.trunk(x_BCHW).mean(dim=(2, 3)))
        return logits
