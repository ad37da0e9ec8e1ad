"""Random changes to images that leave their class alone. All draw from torch's global generator,
which the loop seeds for every step.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F


def alternating_flip(
    x_BCHW: torch.Tensor, index_B: torch.Tensor, turn: int | torch.Tensor
) -> torch.Tensor:
    """Mirror every image at every other `turn` of its own, int64 [B], or of all, which is the
    epoch: no image is seen twice the same way in a row, which a coin's toss cannot promise (Jordan
    2024, arXiv:2404.00498). A hash of the index says which half begins.
    """
    begins = ((index_B * 2654435761) >> 16) & 1
    flip = ((begins + turn) & 1).bool()
    return torch.where(flip[:, None, None, None], x_BCHW.flip(3), x_BCHW)


def translate(x_BCHW: torch.Tensor, pixels: int, *, reflect: bool) -> torch.Tensor:
    """Shift each image by up to `pixels` along both axes; the rim is reflected or zero."""
    if pixels == 0:
        return x_BCHW
    B, _, H, W = x_BCHW.shape
    padded = F.pad(x_BCHW, (pixels,) * 4, mode="reflect" if reflect else "constant")
    shift = torch.randint(0, 2 * pixels + 1, (2, B, 1), device=x_BCHW.device)
    rows_BH = shift[0] + torch.arange(H, device=x_BCHW.device)
    columns_BW = shift[1] + torch.arange(W, device=x_BCHW.device)
    images_B = torch.arange(B, device=x_BCHW.device)[:, None, None]
    # Advanced indices around a slice put the channel axis last.
    return padded[images_B, :, rows_BH[:, :, None], columns_BW[:, None, :]].permute(0, 3, 1, 2)


def cutout(x_BCHW: torch.Tensor, size: int) -> torch.Tensor:
    """Set one square of `size` pixels in each image to 0, the mean (DeVries & Taylor 2017)."""
    if size == 0:
        return x_BCHW
    hole_BHW = squares(x_BCHW, torch.tensor(size, device=x_BCHW.device))
    return x_BCHW.masked_fill(hole_BHW[:, None], 0.0)


def cutmix(x_BCHW: torch.Tensor, chance: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Paste a square of another image of the batch into each, with probability `chance` (Yun et
    al. 2019, arXiv:1905.04899, with any share of the area as likely as any other).

    Returns the images, which of the batch each was pasted from, int64 [B], and the share of its
    own area that each has kept, float [B], 1 where nothing was pasted.
    """
    B, _, H, W = x_BCHW.shape
    draw = torch.rand(2, B, device=x_BCHW.device)
    size_B = (min(H, W) * draw[0].sqrt()).round() * (draw[1] < chance)
    square_BHW = squares(x_BCHW, size_B[:, None])
    other_B = torch.randperm(B, device=x_BCHW.device)
    mixed = torch.where(square_BHW[:, None], x_BCHW[other_B], x_BCHW)
    return mixed, other_B, 1 - square_BHW.float().mean(dim=(1, 2))


def squares(x_BCHW: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    """One square in each image, of a centre anywhere in it and a side `size`, [B,1] or one for all:
    bool [B,H,W], true inside.
    """
    B, _, H, W = x_BCHW.shape
    centre = torch.randint(0, min(H, W), (2, B, 1), device=x_BCHW.device)
    rows_BH = torch.arange(H, device=x_BCHW.device) - centre[0] + size // 2
    columns_BW = torch.arange(W, device=x_BCHW.device) - centre[1] + size // 2
    rows_BH, columns_BW = (rows_BH >= 0) & (rows_BH < size), (columns_BW >= 0) & (columns_BW < size)
    return rows_BH[:, :, None] & columns_BW[:, None, :]


def shrink(x_BCHW: torch.Tensor, side: int) -> torch.Tensor:
    """Scale images down to `side` by `side` pixels, each the mean of those that it covers."""
    if x_BCHW.shape[-1] == x_BCHW.shape[-2] == side:
        return x_BCHW
    return F.interpolate(
        x_BCHW, size=(side, side), mode="bilinear", antialias=True, align_corners=False
    )


def colour(x_BCHW: torch.Tensor, strength: float) -> torch.Tensor:
    """Differentiable brightness, saturation and contrast (Zhao et al. 2020, DiffAugment)."""
    if strength == 0:
        return x_BCHW
    draw = torch.rand(3, x_BCHW.shape[0], 1, 1, 1, device=x_BCHW.device) - 0.5
    x = x_BCHW + draw[0] * strength
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * (1 + 2 * draw[1] * strength)
    middle = x.mean(dim=(1, 2, 3), keepdim=True)
    return middle + (x - middle) * (1 + draw[2] * strength)
