"""What a network costs: parameters and multiplications, layer by layer, for one row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from training.kinds.base import Export


@dataclass(frozen=True)
class Layer:
    """A layer with weights."""

    name: str
    type: str
    output: tuple[int, ...]
    parameters: int
    multiplications: int


def summarise(export: Export) -> list[Layer]:
    """Run one row through the served network and look at every layer that has weights."""
    layers: list[Layer] = []
    names = {module: name for name, module in export.module.named_modules()}

    def look(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: object) -> None:
        result = output[0] if isinstance(output, tuple) else output
        assert isinstance(result, torch.Tensor)
        own = sum(p.numel() for p in module.parameters(recurse=False))
        shape = tuple(result.shape)
        layers.append(
            Layer(
                names[module], type(module).__name__, shape, own, _macs(module, inputs[0], result)
            )
        )

    handles = [
        module.register_forward_hook(look)
        for module in export.module.modules()
        if next(module.parameters(recurse=False), None) is not None
    ]
    try:
        arrays = export.draw_inputs(1, np.random.default_rng(0))
        with torch.no_grad():
            export.module(*(torch.from_numpy(arrays[spec.name]) for spec in export.inputs))
    finally:
        for handle in handles:
            handle.remove()
    return layers


def _macs(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> int:
    """Multiply-adds of the matrix products; everything else is small beside them."""
    if isinstance(module, nn.Conv2d):
        return module.weight[0].numel() * y[0].numel()
    if isinstance(module, nn.ConvTranspose2d):
        return module.weight[0].numel() * x[0].numel()
    if isinstance(module, nn.Linear):
        return module.weight.numel() * y[0].numel() // module.out_features
    if isinstance(module, nn.LSTM):
        matrices = [w.numel() for name, w in module.named_parameters() if "weight" in name]
        return sum(matrices) * x.shape[1]
    return 0


def format_summary(layers: list[Layer]) -> str:
    """A table with a total line."""
    table = pd.DataFrame(
        [
            (
                layer.name,
                layer.type,
                "x".join(map(str, layer.output)),
                f"{layer.parameters:,}",
                f"{layer.multiplications / 1e6:.2f}",
            )
            for layer in layers
        ],
        columns=["layer", "type", "output", "parameters", "MMAC"],
    )
    parameters = sum(layer.parameters for layer in layers)
    macs = sum(layer.multiplications for layer in layers) / 1e6
    return f"{table.to_string(index=False)}\ntotal: {parameters:,} parameters, {macs:.2f} MMAC"
