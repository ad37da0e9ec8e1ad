"""Every random number of a run is a function of (seed, purpose, position).

Nothing depends on how many numbers were drawn before, so a resumed run draws exactly what the
unbroken one would have drawn.
"""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, *parts: str | int) -> int:
    """A 63-bit seed for one purpose, e.g. `derive(seed, "order", epoch)`."""
    text = "/".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *parts: str | int) -> torch.Generator:
    """A CPU generator for one purpose."""
    return torch.Generator().manual_seed(derive(seed, *parts))


def order(count: int, seed: int, epoch: int) -> torch.Tensor:
    """The order of an epoch's examples: int64 [count], a permutation."""
    return torch.randperm(count, generator=generator(seed, "order", epoch))
