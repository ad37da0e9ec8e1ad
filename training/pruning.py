"""Which images an epoch shows: of those that a classifier knows well, every other one.

InfoBatch (Qin et al. 2024, arXiv:2303.04947): what is left out at random, among the images of the
least loss, is made up for by the double weight of what is kept, so that the gradient that is to be
expected stays the same. The paper draws the line at the mean loss; here it is a share of the
images, so that every epoch has as many steps.
"""

from __future__ import annotations

import torch
from torch import nn

from training.distributed import of_all_ranks
from training.seeds import generator

ALL_ALIKE_FROM = 0.875
"""Progress of the fit from which no image is preferred: the paper's, whose last eighth takes out
what the weights leave of a bias."""


Shown = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""The images of a batch: their indices, int64 [B]; the weights of their losses, float32 [B], 1 on
average over an epoch; how often each was shown before, int64 [B]."""


class Pruning(nn.Module):
    """What is known of every image, as buffers, so that a checkpoint holds it.

    `share`, in [0, 1), of the images are the easy ones: half of them are left out of an epoch.
    """

    loss: torch.Tensor
    seen: torch.Tensor
    shown: torch.Tensor
    weight: torch.Tensor
    epoch: torch.Tensor

    def __init__(self, images: int, share: float, seed: int) -> None:
        super().__init__()
        self.images, self.seed = images, seed
        self.easy = round(images * share)
        self.left_out = self.easy // 2
        self.shown_images = images - self.left_out
        self.register_buffer("loss", torch.full((images,), torch.inf))
        self.register_buffer("seen", torch.zeros(images, dtype=torch.int64))
        self.register_buffer("shown", torch.zeros(self.shown_images, dtype=torch.int64))
        self.register_buffer("weight", torch.ones(self.shown_images))
        self.register_buffer("epoch", torch.tensor(-1))

    def choose(self, epoch: int, progress: float) -> None:
        """Draw the images of `epoch`, once; `progress`, in [0, 1], is that of the fit. What was
        never seen counts as hard.
        """
        if int(self.epoch) == epoch:
            return
        draw = generator(self.seed, "prune", epoch)
        shuffled = torch.randperm(self.images, generator=draw).to(self.loss.device)
        if epoch == 0 or progress >= ALL_ALIKE_FROM:
            shown, weight = shuffled[: self.shown_images], torch.ones_like(self.weight)
        else:
            by_loss = shuffled[self.loss[shuffled].argsort(stable=True)]
            easy = by_loss[: self.easy]
            easy = easy[torch.randperm(self.easy, generator=draw).to(easy.device)]
            kept = easy[: self.easy - self.left_out]
            shown = torch.cat((kept, by_loss[self.easy :]))
            weight = torch.ones_like(self.weight)
            weight[: len(kept)] = self.easy / len(kept) if len(kept) else 1.0
            mixed = torch.randperm(self.shown_images, generator=draw).to(shown.device)
            shown, weight = shown[mixed], weight[mixed] * (self.shown_images / self.images)
        self.shown, self.weight = shown, weight  # new ones: batches of the old ones are views
        self.epoch.fill_(epoch)

    def pick(self, start: int, end: int) -> Shown:
        """The images from `start` to `end` of the epoch that was chosen, counted as seen."""
        index_B = self.shown[start:end]
        seen_B = self.seen[index_B]
        self.seen[index_B] = seen_B + 1
        return index_B, self.weight[start:end], seen_B

    def learn(
        self, index_B: torch.Tensor, nats_B: torch.Tensor, kept_B: torch.Tensor | None = None
    ) -> None:
        """Remember the loss of these images, but for those of whose area less than all was `kept`:
        the loss of two images in one is neither's. Under torchrun, every rank remembers that of
        every rank's rows, and chooses alike.
        """
        index_B, nats_B = of_all_ranks(index_B), of_all_ranks(nats_B.detach())
        if kept_B is not None:
            whole_B = of_all_ranks(kept_B) == 1
            index_B, nats_B = index_B[whole_B], nats_B[whole_B]
        self.loss[index_B] = nats_B.to(self.loss.dtype)
