"""Networks as they are served: with their own pre- and post-processing, batch rows independent."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional as F


def mean_of_map(map_BDhw: torch.Tensor) -> torch.Tensor:
    """[B,D,h,w] to [B,D]."""
    return map_BDhw.mean(dim=(2, 3))


def mean_of_halves(x: torch.Tensor, *, mirrors: bool = False) -> torch.Tensor:
    """[2N, ...] to [N, ...]: of row n and row N + n, which is mirrored back if it `mirrors`."""
    # Plain numbers, which a traced graph holds as such; N alone stays open.
    pair = x.reshape(2, -1, *(int(size) for size in x.shape[1:]))
    return (pair[0] + (pair[1].flip(-1) if mirrors else pair[1])) * 0.5


class ServedClassifier(nn.Module):
    """uint8 images in; probabilities, a class activation map and pooled features out.

    `network` has a `trunk`, a linear `classifier` of what its `pool` makes of the trunk's feature
    map, and without a `pool` of the map's mean.
    The map (Zhou et al. 2016, arXiv:1512.04150) is the last feature map weighted by the top
    class's row of the classifier, stretched to 0..1 for each image. The logits are divided by
    `temperature` (Guo et al. 2017, arXiv:1706.04599), which is folded into the classifier.
    `mirrored` answers by the mean over the image and its mirror image.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self,
        network: nn.Module,
        mean: tuple[float, ...],
        deviation: tuple[float, ...],
        temperature: float = 1.0,
        *,
        mirrored: bool = False,
    ) -> None:
        super().__init__()
        self.mirrored = mirrored
        trunk, classifier = network.trunk, network.classifier
        assert isinstance(trunk, nn.Module) and isinstance(classifier, nn.Linear)
        self.trunk, self.classifier = trunk, copy.deepcopy(classifier)
        self.pool = getattr(network, "pool", mean_of_map)
        with torch.no_grad():
            if "bias" not in dict(classifier.named_parameters()):
                # A matrix product alone may add up in an order that depends on the batch.
                self.classifier.bias = nn.Parameter(torch.zeros(classifier.out_features))
            for parameter in self.classifier.parameters():
                parameter.div_(temperature)
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("scale", 1 / torch.tensor(deviation))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """uint8 [N,H,W,3] to float32 [N,C], [N,h,w] and [N,D]."""
        if self.mirrored:
            image = torch.cat((image, image.flip(2)))
        x_NCHW = ((image.float() - self.mean) * self.scale).permute(0, 3, 1, 2)
        map_NDhw = self.trunk(x_NCHW)
        feature_ND = self.pool(map_NDhw)
        if self.mirrored:
            # The mean of the logits as well: they are linear in the features.
            feature_ND = mean_of_halves(feature_ND)
            map_NDhw = mean_of_halves(map_NDhw, mirrors=True)
        logits_NC = self.classifier(feature_ND)
        # Every class's map by one convolution, then the top one: a weighted sum over channels
        # would be reduced in an order that depends on the batch.
        heat_NChw = F.conv2d(map_NDhw, self.classifier.weight[:, :, None, None])
        top_N111 = logits_NC.argmax(dim=1)[:, None, None, None]
        top_N1hw = top_N111.expand(-1, -1, heat_NChw.shape[2], heat_NChw.shape[3])
        heat_Nhw = heat_NChw.gather(1, top_N1hw).squeeze(1)
        low = heat_Nhw.amin(dim=(1, 2), keepdim=True)
        high = heat_Nhw.amax(dim=(1, 2), keepdim=True)
        heatmap_Nhw = (heat_Nhw - low) / (high - low + 1e-6)
        return logits_NC.softmax(dim=1), heatmap_Nhw, feature_ND


class ServedGenerator(nn.Module):
    """A generator whose images are grey levels: uint8 [N,H,W,3], RGB."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, noise: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """float32 [N,Z] and int64 [N] to uint8 [N,H,W,3]."""
        image_NCHW = self.network(noise, label).clamp(-1, 1)
        levels: torch.Tensor = ((image_NCHW + 1) * 127.5).round().to(torch.uint8)
        return levels.permute(0, 2, 3, 1)
