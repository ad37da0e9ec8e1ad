"""A character-level LSTM language model (Hochreiter & Schmidhuber 1997; Graves 2013)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class CharLstm(nn.Module):
    """Characters in, the next character's logits out.

    `embedding` 0 feeds one-hot characters. The state of one sequence is one row of S = 2 * layers
    * hidden floats: every layer's h, then every layer's c; zeros are the start of a text.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        embedding: int,
        hidden: int,
        layers: int,
        dropout: float,
        weight_drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.layers, self.hidden, self.weight_drop = layers, hidden, weight_drop
        self.embedding = nn.Embedding(vocabulary, embedding or vocabulary)
        if not embedding:
            self.embedding.weight.data.copy_(torch.eye(vocabulary))
            self.embedding.weight.requires_grad_(False)
        self.lstm = nn.LSTM(
            embedding or vocabulary,
            hidden,
            num_layers=layers,
            batch_first=True,
            dropout=dropout if layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden, vocabulary)
        for name, bias in self.lstm.named_parameters():
            if name.startswith("bias_ih"):
                # Remember by default (Jozefowicz et al. 2015); torch's gate order is i, f, g, o.
                bias.data[hidden : 2 * hidden].fill_(1.0)

    @property
    def state_size(self) -> int:
        """Floats in one sequence's state."""
        return 2 * self.layers * self.hidden

    def forward(
        self, token_BT: torch.Tensor, state_BS: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """int64 [B,T] and the state before them to logits [B,T,V] and the state after them."""
        x_BTE = self.embedding(token_BT)
        if state_BS is None:
            state_BS = x_BTE.new_zeros((token_BT.shape[0], self.state_size))
        state_LBH = state_BS.unflatten(1, (2 * self.layers, self.hidden)).transpose(0, 1)
        h_LBH = state_LBH[: self.layers].contiguous()
        c_LBH = state_LBH[self.layers :].contiguous()
        if self.training and self.weight_drop:
            y_BTH, h_LBH, c_LBH = self._drop_weights(x_BTE, h_LBH, c_LBH)
        else:
            y_BTH, (h_LBH, c_LBH) = self.lstm(x_BTE, (h_LBH, c_LBH))
        logits_BTV: torch.Tensor = self.classifier(self.dropout(y_BTH))
        return logits_BTV, torch.cat((h_LBH, c_LBH)).transpose(0, 1).flatten(1)

    def _drop_weights(
        self, x_BTE: torch.Tensor, h_LBH: torch.Tensor, c_LBH: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The LSTM with some of its recurrent weights at 0, the same ones at every step (Merity
        et al. 2018, arXiv:1708.02182, AWD-LSTM): what each unit may read of the others is
        regularised, and the memory is not broken as it would be by dropping activations.
        """
        weights = [
            F.dropout(weight, self.weight_drop) if name.startswith("weight_hh") else weight
            for name, weight in self.lstm.named_parameters()
        ]
        return torch.lstm(
            x_BTE,
            (h_LBH, c_LBH),
            weights,
            has_biases=True,
            num_layers=self.layers,
            dropout=self.lstm.dropout,
            train=True,
            bidirectional=False,
            batch_first=True,
        )
