"""The fixed first layer of the shipped classifiers: filters that decorrelate patches of pixels."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

WHITENED_IMAGES = 5000  # a 12 by 12 covariance is known well enough from fewer

FLOOR = 0.05
"""airbench has 0.0005. JPEG keeps colours at half the resolution: 6 of the 12 directions, the fine
differences of colour, have variances from 0.0001 to 0.005, and what they hold is for the most part
the format's own noise. On a fifth of the training images for 6 epochs (widths 32, 128, 128; one run
each, 5,000 test images) 0.0005, 0.005 and 0.05 gave 77.1, 76.9 and 77.9 %."""


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
    def fit(self, x_BCHW: torch.Tensor, floor: float = FLOOR) -> None:
        """Set the filters from normalised images; `floor`, a variance, keeps those of fainter
        directions small.
        """
        patch_PD = F.unfold(x_BCHW, 2).transpose(1, 2).flatten(0, 1)
        covariance_DD = patch_PD.T @ patch_PD / len(patch_PD)
        variance_D, direction_DD = torch.linalg.eigh(covariance_DD.double())
        filters_DD = (direction_DD / torch.sqrt(variance_D + floor)).T.float()
        filters_DCHW = filters_DD.view(-1, *self.filters.weight.shape[1:])
        self.filters.weight.copy_(torch.cat((filters_DCHW, -filters_DCHW)))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """[B,3,H,W] to [B,24,H-1,W-1]."""
        return F.relu(self.filters(x_BCHW))
