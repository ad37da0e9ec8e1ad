"""The textbook GAN: DCGAN (Radford et al. 2016), with the class given to both players."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def init_normal(module: nn.Module) -> None:
    """DCGAN's initial weights: normal with deviation 0.02; batch norm's scale around 1."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


class DcganGenerator(nn.Module):
    """Noise and a class to an image: transposed convolutions double the size four times over."""

    def __init__(self, classes: int, noise: int, width: int) -> None:
        super().__init__()
        self.classes = classes
        widths = (4 * width, 2 * width, width)
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(noise + classes, widths[0], 4, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        ]
        for inputs, outputs in pairwise(widths):
            layers += [
                nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        layers += [nn.ConvTranspose2d(widths[-1], 3, 4, 2, 1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(init_normal)

    def forward(self, noise_BZ: torch.Tensor, label_B: torch.Tensor) -> torch.Tensor:
        """float32 [B,Z] and int64 [B] to images [B,3,32,32] in -1..1."""
        one_hot_BK = nn.functional.one_hot(label_B, self.classes).to(noise_BZ.dtype)
        image: torch.Tensor = self.layers(torch.cat((noise_BZ, one_hot_BK), 1)[:, :, None, None])
        return image


def fold_transposed_norms(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose batch norms are part of the transposed convolutions before
    them; the exporter folds those after plain convolutions by itself.
    """
    folded = copy.deepcopy(network).eval()
    for module in list(folded.modules()):
        if isinstance(module, nn.Sequential):
            for index, (layer, norm) in enumerate(pairwise(list(module))):
                if isinstance(layer, nn.ConvTranspose2d) and isinstance(norm, nn.BatchNorm2d):
                    module[index] = fuse_conv_bn_eval(layer, norm, transpose=True)
                    module[index + 1] = nn.Identity()
    return folded


class DcganDiscriminator(nn.Module):
    """Image and class to one logit: real or drawn. The class arrives as constant planes."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.classes = classes
        self.layers = nn.Sequential(
            nn.Conv2d(3 + classes, width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 4, 2, 1, bias=False),
            nn.BatchNorm2d(4 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4 * width, 1, 4),
        )
        self.apply(init_normal)

    def forward(self, image_BCHW: torch.Tensor, label_B: torch.Tensor) -> torch.Tensor:
        """Images [B,3,32,32] in -1..1 and int64 [B] to logits [B]."""
        one_hot_BK = nn.functional.one_hot(label_B, self.classes).to(image_BCHW.dtype)
        planes = one_hot_BK[:, :, None, None].expand(-1, -1, *image_BCHW.shape[2:])
        logits: torch.Tensor = self.layers(torch.cat((image_BCHW, planes), 1)).flatten()
        return logits
