"""Language modelling: the next character of windows of a text."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from training.configs.lstm import LstmConfig
from training.data.text import TextData
from training.networks.charlstm import CharLstm
from training.seeds import derive, generator, order
from training.tasks.base import Batch, Losses, Phase, Task, in_chunks


class LstmTask(Task):
    """Windows of the training text, cross-entropy of the next character."""

    served = "network"
    monitor = ("val_loss_nats", "min")

    def __init__(self, config: LstmConfig, data: TextData, device: torch.device) -> None:
        self.config, self.data, self.device = config, data, device
        torch.manual_seed(derive(config.fit.seed, "weights"))
        network = build_network(config, len(data.vocabulary)).to(device)
        self.modules = {"network": network}
        self.phases = (Phase("train", network, self.loss, config.optimizer),)
        self.tokens = encode(data.train, data.vocabulary).to(device)
        self.windows = (len(self.tokens) - 1) // config.window - 1
        self.examples = self.windows
        self.steps_per_epoch = self.windows // config.fit.batch_size
        self._order = (-1, torch.empty(0))

    def batch(self, epoch: int, step: int) -> Batch:
        """Windows that cover the text once an epoch, from an offset that each epoch draws anew."""
        window, size = self.config.window, self.config.fit.batch_size
        if self._order[0] != epoch:
            seed = self.config.fit.seed
            offset = torch.randint(0, window, (), generator=generator(seed, "offset", epoch))
            start = order(self.windows, seed, epoch) * window + offset
            self._order = (epoch, start.to(self.device))
        return self._read(self._order[1][step * size : (step + 1) * size])

    def gather(self, index_B: torch.Tensor, epoch: int) -> Batch:
        """Windows whose place in the text is the same in every epoch."""
        return self._read(index_B.to(self.device) * self.config.window)

    def _read(self, start_B: torch.Tensor) -> Batch:
        span = torch.arange(self.config.window + 1, device=self.device)
        token = self.tokens[start_B[:, None] + span]
        return {"token": token[:, :-1], "next": token[:, 1:]}

    def loss(self, batch: Batch) -> Losses:
        """Mean cross-entropy in nats per character, every window from the zero state."""
        logits_BTV, _ = self.modules["network"](batch["token"])
        return F.cross_entropy(logits_BTV.float().flatten(0, 1), batch["next"].flatten()), {}

    def validate(self, network: nn.Module, folder: Path, epoch: int) -> dict[str, float]:
        """Nats per character over the validation split."""
        tokens = encode(self.data.val, self.data.vocabulary).to(self.device)
        loss = window_losses(network, tokens, self.config.window).mean()
        return {"val_loss_nats": float(loss)}


def build_network(config: LstmConfig, vocabulary: int) -> CharLstm:
    """The configured network, with weights from torch's global generator."""
    network = config.network
    return CharLstm(
        vocabulary,
        embedding=network.embedding,
        hidden=network.hidden,
        layers=network.layers,
        dropout=network.dropout,
        weight_drop=network.weight_drop,
    )


def encode(text: str, vocabulary: str) -> torch.Tensor:
    """Characters to their indices, int64 [len(text)]."""
    index = {character: position for position, character in enumerate(vocabulary)}
    return torch.tensor([index[character] for character in text], dtype=torch.int64)


@torch.no_grad()
def window_losses(
    network: nn.Module, tokens: torch.Tensor, window: int, *, rows: int = 64
) -> torch.Tensor:
    """Nats of every predicted character, float32 [windows, window]: consecutive windows that do
    not overlap, each from the zero state; the incomplete last one is left out.
    """
    count = (len(tokens) - 1) // window
    token_WT = tokens[: count * window].view(count, window)
    next_WT = tokens[1 : count * window + 1].view(count, window)
    parts = []
    for token_BT, next_BT in zip(in_chunks(token_WT, rows), in_chunks(next_WT, rows), strict=True):
        logits_BTV, _ = network(token_BT)
        parts.append(F.cross_entropy(logits_BTV.transpose(1, 2), next_BT, reduction="none"))
    return torch.cat(parts)
