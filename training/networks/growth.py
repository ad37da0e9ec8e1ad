"""A wider network that begins with a narrower one's function, after Net2Net (Chen et al. 2016,
arXiv:1511.05641): what was learnt is kept, and what is new finds its own work.

Net2Net splits channels and halves what they pass on; here new channels have filters of their own,
which nothing listens to yet. So no two are alike, and no noise is needed to part them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

Weights = Mapping[str, torch.Tensor]


def widened(narrow: Weights, wide: Weights, *, last: str) -> Weights:
    """The narrow network's weights in the first channels of the wide one's.

    For layers in a row whose tensors are [outputs, inputs, ...] or [outputs], with sums of equal
    channels between them: fully connected ones, convolutions, norms.

    Args:
        narrow: what to keep, by name.
        wide: as freshly built: what new channels begin with.
        last: the name of the last layer's weights, whose outputs are answers, not channels: there
            must be as many of them.

    Returns the wide network's weights, with nothing read from a new channel yet; `narrow` itself
    where they are not those of a narrower network of the same layers.

    """
    if narrow.keys() != wide.keys():
        return narrow
    if len(narrow[last]) != len(wide[last]):
        return narrow
    if not all(_holds(wide[name], part) for name, part in narrow.items()):
        return narrow
    grown = {}
    for name, part in narrow.items():
        whole = wide[name].clone()
        if whole.ndim >= 2:
            whole[: len(part), part.shape[1] :] = 0
        whole[tuple(slice(size) for size in part.shape)] = part
        grown[name] = whole
    return grown


def _holds(whole: torch.Tensor, part: torch.Tensor) -> bool:
    return whole.ndim == part.ndim and all(map(int.__ge__, whole.shape, part.shape))
