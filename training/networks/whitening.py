"""The fixed first layer of the shipped classifiers: filters that decorrelate patches of pixels."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

WHITENED_IMAGES = 5000  # a 12 by 12 covariance is known well enough from fewer


class Whitening(nn.Module):
    """Fixed 2x2 filters whose outputs, over training images, are uncorrelated and of deviation 1.

    Each filter comes with its negative, so that the ReLU behind loses nothing. Without it the
    first layer spends much of a short run on undoing the correlation of neighbouring pixels
    (Jordan 2024, arXiv:2404.00498).
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
