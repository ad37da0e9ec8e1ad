"""Optimisers, the learning rate over time, and averaged weights."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from training.config import OptimizerConfig, ScheduleConfig
from training.muon import FilterMuon


def build_optimizer(module: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Weight decay falls on matrices and kernels alone: shrinking a bias or a norm's scale only
    limits what the network can express (Goyal et al. 2017, section 5.3).

    Each group's own peak rate is its `initial_lr`.
    """
    optimizer = _build(module, config)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]  # the name that torch's own schedules use
    return optimizer


def _build(module: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    trained = [p for p in module.parameters() if p.requires_grad]
    if config.name == "muon":
        decay, matrix_lr = config.weight_decay, config.matrix_lr
        parts = [
            {"params": [p for p in trained if p.ndim == 4], "lr": config.lr, "filters": True},
            {
                "params": [p for p in trained if p.ndim in (2, 3)],
                "lr": matrix_lr,
                "weight_decay": decay,
            },
            {"params": [p for p in trained if p.ndim <= 1], "lr": config.vector_lr},
        ]
        return FilterMuon([part for part in parts if part["params"]], momentum=config.momentum)
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.name == "sgd":
        return torch.optim.SGD(
            groups,
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.nesterov,
            fused=True,
        )
    family = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    # Fused: one pass over memory where the plain one makes a dozen.
    return family(groups, lr=config.lr, betas=(config.beta1, config.beta2), fused=True)


def learning_rate_scale(config: ScheduleConfig, progress: float) -> float:
    """Share of the peak rate at `progress` in [0, 1): linear warm-up, then the fall."""
    if progress < config.warmup:
        return progress / config.warmup
    if config.name == "constant":
        return 1.0
    fallen = (progress - config.warmup) / (1 - config.warmup)
    if config.name == "linear":
        return 1 - (1 - config.final) * fallen
    return config.final + (1 - config.final) * (1 + math.cos(math.pi * fallen)) / 2


def set_learning_rate(optimizer: torch.optim.Optimizer, scale: float) -> None:
    """Give every parameter group the share `scale` of its peak rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * scale


class Average:
    """Exponential moving average of a module's weights and buffers (Polyak & Juditsky 1992).

    With `decay` 0 it simply follows the module. Early on the decay is held at (1+t)/(10+t), so
    that the random initial weights are soon forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards `module` after its step number `step` (from 0)."""
        share = 1 - min(self.decay, (1 + step) / (10 + step)) if self.decay else 1.0
        mine = list(self.module.state_dict().values())
        theirs = list(module.state_dict().values())
        floating = [i for i, value in enumerate(mine) if value.is_floating_point()]
        torch._foreach_lerp_([mine[i] for i in floating], [theirs[i] for i in floating], share)
        for i in sorted(set(range(len(mine))) - set(floating)):
            mine[i].copy_(theirs[i])
