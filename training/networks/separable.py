"""Networks whose gradient can be taken apart by examples, for private training."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from training.config import require
from training.networks.charlstm import CharLstm

LARGEST_GROUPS = 32  # of a group norm, as its authors chose (Wu & He 2018, arXiv:1803.08494)


def replace_norms(network: nn.Module) -> None:
    """Put a group norm in the place of each batch norm, which would mix examples' gradients."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                groups = math.gcd(child.num_features, LARGEST_GROUPS)
                norm = nn.GroupNorm(groups, child.num_features).to(child.weight.device)
                norm.weight.requires_grad_(child.weight.requires_grad)
                setattr(module, name, norm)


def lay_out_planes(network: nn.Module) -> None:
    """Undo channels-last weights, so that what comes of a convolution lies in planes (NCHW)."""
    for parameter in network.parameters():
        parameter.data = parameter.data.contiguous()


class SeparableLstm(nn.Module):
    """An LSTM that yields each example's gradient, on the very parameters of a fused one."""

    def __init__(self, fused: nn.LSTM) -> None:
        super().__init__()
        from opacus.layers import DPLSTM  # noqa: PLC0415 - for private runs alone

        self.layers = nn.ModuleList()
        self.dropout = nn.Dropout(fused.dropout)
        for layer in range(fused.num_layers):
            inputs = fused.input_size if layer == 0 else fused.hidden_size
            cells = DPLSTM(inputs, fused.hidden_size, batch_first=True)
            for name in ("weight", "bias"):
                for part in ("ih", "hh"):
                    own = getattr(fused, f"{name}_{part}_l{layer}")
                    setattr(getattr(cells.l0, part), name, own)
                    setattr(cells, f"{name}_{part}_l0", own)  # by this name it holds it as well
            self.layers.append(cells)

    def forward(
        self, x_BTE: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """As nn.LSTM: [B,T,E] and (h, c), each [layers,B,H], to [B,T,H] and the state after."""
        h_LBH, c_LBH = [], []
        for layer, cells in enumerate(self.layers):
            before = state[0][layer : layer + 1], state[1][layer : layer + 1]
            x_BTE, (h_1BH, c_1BH) = cells(self.dropout(x_BTE) if layer else x_BTE, before)
            h_LBH.append(h_1BH)
            c_LBH.append(c_1BH)
        return x_BTE, (torch.cat(h_LBH), torch.cat(c_LBH))


def separable(network: nn.Module) -> nn.Module:
    """The network, its LSTM if it has one replaced by cells that yield each example's gradient.

    The cells hold the LSTM's own parameters: what steps them steps the network.
    """
    if not isinstance(network, CharLstm):
        return network
    require(
        network.weight_drop == 0,
        "network.weight_drop",
        network.weight_drop,
        "0 with privacy",
    )
    counterpart = copy.copy(network)
    counterpart._modules = {**network._modules, "lstm": SeparableLstm(network.lstm)}
    return counterpart
