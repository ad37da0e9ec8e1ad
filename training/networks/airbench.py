"""The shipped image classifier, after CIFAR-10 airbench (Jordan 2024, arXiv:2404.00498).

Fixed whitening filters, then groups of two or three convolutions. A group pools right after its
first convolution, before norm and activation: on a processor those two cost more at full resolution
than the arithmetic does.

Where airbench has GELU this has ReLU, which an int8 convolution takes in for nothing. In 2 epochs
that costs 0.5 points of accuracy (81.0 % for 81.5 %, widths 64, 256, 256), as one run each tells.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from training.networks.whitening import Whitening

NORM_MOMENTUM = 0.4  # the running statistics follow weights that change fast


class Group(nn.Module):
    """Convolution, 2x2 maximum, norm, ReLU; convolution, norm, ReLU.

    With three `convolutions`, the second and the third are beside a shortcut, as in airbench96.
    """

    def __init__(self, inputs: int, outputs: int, convolutions: int = 2) -> None:
        super().__init__()
        assert convolutions in (2, 3)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm1: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(outputs, momentum=NORM_MOMENTUM)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs, momentum=NORM_MOMENTUM)
        self.conv3 = self.norm3 = None
        if convolutions == 3:
            self.conv3 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
            self.norm3 = nn.BatchNorm2d(outputs, momentum=NORM_MOMENTUM)
        for layer in self.children():
            if isinstance(layer, nn.Conv2d):
                # What comes in passes through at first, as beside a residual block.
                nn.init.dirac_(layer.weight.data[: layer.in_channels])
            elif isinstance(layer, nn.BatchNorm2d):
                # Norms only shift, as in airbench: with a scale above 0, the one behind the maximum
                # can move before it, into the convolution.
                layer.weight.requires_grad_(False)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """[B,C,H,W] to [B,C',H//2,W//2]."""
        x = F.relu(self.norm1(F.max_pool2d(self.conv1(x_BCHW), 2)))
        inner = F.relu(self.norm2(self.conv2(x)))
        if self.conv3 is None or self.norm3 is None:
            return inner
        return F.relu(x + self.norm3(self.conv3(inner)))


def fold_pooled_norms(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose groups' first norms are part of the convolutions before the
    maximum; the exporter folds the second ones by itself.
    """
    folded = copy.deepcopy(network).eval()
    for module in folded.modules():
        if isinstance(module, Group):
            norm = module.norm1
            if not isinstance(norm, nn.BatchNorm2d):
                continue  # a private run's group norm is not a constant to fold
            assert bool((norm.weight > 0).all()), "a maximum commutes with positive scales"
            module.conv1 = fuse_conv_bn_eval(module.conv1, norm)
            module.norm1 = nn.Identity()
    return folded


class Airbench(nn.Module):
    """Whitening, a group for each width, and a linear classifier of the last map's maxima.

    The last map of 32x32 images is 3x3, and so is the class activation map.
    """

    def __init__(self, classes: int, widths: tuple[int, ...], convolutions: int = 2) -> None:
        super().__init__()
        whitening = Whitening()
        layers: list[nn.Module] = [whitening]
        inputs = whitening.channels
        for width in widths:
            layers.append(Group(inputs, width, convolutions))
            inputs = width
        self.trunk = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, classes, bias=False)
        # airbench divides the logits by the width instead; Muon's rates for matrices differ by
        # the square of it.
        nn.init.normal_(self.classifier.weight, std=1 / inputs)

    def pool(self, map_BDhw: torch.Tensor) -> torch.Tensor:
        """The trunk's map to features [B,D]: where in the image something is does not matter."""
        return map_BDhw.amax(dim=(2, 3))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Normalised images [B,3,H,W] to logits [B,classes]; H and W at least 2 ** groups + 1."""
        logits: torch.Tensor = self.classifier(self.pool(self.trunk(x_BCHW)))
        return logits
