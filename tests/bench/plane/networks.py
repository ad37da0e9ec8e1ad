"""Published CIFAR-10 architectures, built anew: only their shapes matter, their weights are random.

Each is a `trunk` and a linear `classifier` of the mean of the trunk's last map, as the networks of
this repository are, so that the same wrapper serves and the same exporter writes them.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

CLASSES = 10
SIZE = 32


class Network(nn.Module):
    """A trunk and a classifier of the mean of its map, [B,3,32,32] to [B,10]."""

    def __init__(self, trunk: nn.Sequential, channels: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.classifier = nn.Linear(channels, CLASSES)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        logits_BK: torch.Tensor = self.classifier(self.trunk(x_BCHW).mean(dim=(2, 3)))
        return logits_BK


def conv_norm(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """A convolution that keeps the size but for its stride, and its norm."""
    conv = nn.Conv2d(
        inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False
    )
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class Residual(nn.Module):
    """He et al.'s basic block (arXiv:1512.03385); where the shape changes, a 1x1 shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_norm(inputs, outputs, 3, stride=stride), nn.ReLU(), conv_norm(outputs, outputs, 3)
        )
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else conv_norm(inputs, outputs, 1, stride=stride)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        return F.relu(self.body(x_BCHW) + self.shortcut(x_BCHW))


def resnet(depth: int) -> Network:
    """He et al.'s CIFAR network of `depth` = 6n + 2 layers."""
    assert depth % 6 == 2
    layers: list[nn.Module] = [conv_norm(3, 16, 3), nn.ReLU()]
    inputs = 16
    for outputs in (16, 32, 64):
        for _ in range(depth // 6):
            stride = 2 if outputs == 2 * inputs else 1
            layers.append(Residual(inputs, outputs, stride))
            inputs = outputs
    return Network(nn.Sequential(*layers), inputs)


class InvertedResidual(nn.Module):
    """MobileNetV2's block (Sandler et al. 2018, arXiv:1801.04381): widen, filter, narrow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        widen = [conv_norm(inputs, hidden, 1), nn.ReLU6()] if expansion > 1 else []
        self.body = nn.Sequential(
            *widen,
            conv_norm(hidden, hidden, 3, stride=stride, groups=hidden),
            nn.ReLU6(),
            conv_norm(hidden, outputs, 1),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        body_BCHW: torch.Tensor = self.body(x_BCHW)
        return x_BCHW + body_BCHW if self.adds else body_BCHW


# Expansion, channels, blocks, stride; for 32x32 images the first two strides are 1.
_MOBILENET_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenetv2(width: float) -> Network:
    """MobileNetV2 with `width` times as many channels, in the layout for 32x32 images."""
    inputs, last = _of_eight(32 * width), _of_eight(1280 * max(1.0, width))
    layers: list[nn.Module] = [conv_norm(3, inputs, 3), nn.ReLU6()]
    for expansion, channels, blocks, stride in _MOBILENET_STAGES:
        outputs = _of_eight(channels * width)
        for block in range(blocks):
            layers.append(InvertedResidual(inputs, outputs, stride if not block else 1, expansion))
            inputs = outputs
    return Network(nn.Sequential(*layers, conv_norm(inputs, last, 1), nn.ReLU6()), last)


def _of_eight(channels: float) -> int:
    """The nearest multiple of 8 that takes no more than a tenth away."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class RepBlock(nn.Module):
    """RepVGG's block (Ding et al. 2021, arXiv:2101.03697) as it is trained: 3x3, 1x1, identity."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.wide = conv_norm(inputs, outputs, 3, stride=stride)
        self.narrow = conv_norm(inputs, outputs, 1, stride=stride)
        same = inputs == outputs and stride == 1
        self.same = nn.BatchNorm2d(inputs) if same else None

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        y_BCHW = self.wide(x_BCHW) + self.narrow(x_BCHW)
        return F.relu(y_BCHW if self.same is None else y_BCHW + self.same(x_BCHW))

    def folded(self) -> nn.Conv2d:
        """The one 3x3 convolution that the branches, in evaluation mode, come to."""
        conv = fuse_conv_bn_eval(*self.wide)
        narrow = fuse_conv_bn_eval(*self.narrow)
        assert conv.bias is not None and narrow.bias is not None
        conv.weight.data += F.pad(narrow.weight.data, (1, 1, 1, 1))
        conv.bias.data += narrow.bias.data
        if self.same is not None:
            nothing = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=1, bias=False)
            nn.init.dirac_(nothing.weight)
            same = fuse_conv_bn_eval(nothing.eval(), self.same)
            assert same.bias is not None
            conv.weight.data += same.weight.data
            conv.bias.data += same.bias.data
        return conv


def repvgg(widths: tuple[float, float, float, float]) -> Network:
    """RepVGG-A in the layout for 32x32 images: the first two strides are 1."""
    channels = [int(base * width) for base, width in zip((64, 128, 256, 512), widths, strict=True)]
    inputs = min(64, channels[0])
    layers: list[nn.Module] = [RepBlock(3, inputs, 1)]
    for outputs, blocks, stride in zip(channels, (2, 4, 14, 1), (1, 2, 2, 2), strict=True):
        for block in range(blocks):
            layers.append(RepBlock(inputs, outputs, stride if not block else 1))
            inputs = outputs
    return Network(nn.Sequential(*layers), inputs)


def deployed(network: Network) -> Network:
    """A copy as it is served: in evaluation mode, RepVGG's branches folded into one convolution.

    The exporter folds the other norms.
    """
    served = copy.deepcopy(network).eval()
    layers: list[nn.Module] = []
    for layer in served.trunk:
        layers += [layer.folded(), nn.ReLU()] if isinstance(layer, RepBlock) else [layer]
    served.trunk = nn.Sequential(*layers)
    return served
