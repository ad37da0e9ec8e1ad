"""A character-level LSTM language model (Hochreiter & Schmidhuber 1997; Graves 2013)."""

from __future__ import annotations

import torch
from torch import nn


class CharLstm(nn.Module):
    """Characters in, the next character's logits out.

    `embedding` 0 feeds one-hot characters. The state of one sequence is one row of S = 2 * layers
    * hidden floats: every layer's h, then every layer's c; zeros are the start of a text.
    """

    def __init__(
        self, vocabulary: int, *, embedding: int, hidden: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.layers, self.hidden = layers, hidden
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
        y_BTH, (h_LBH, c_LBH) = self.lstm(x_BTE, (h_LBH, c_LBH))
        logits_BTV: torch.Tensor = self.classifier(self.dropout(y_BTH))
        return logits_BTV, torch.cat((h_LBH, c_LBH)).transpose(0, 1).flatten(1)
