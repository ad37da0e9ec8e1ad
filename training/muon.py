"""Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) for the filters of a convolutional
network, with Nesterov's SGD for everything else, as one optimiser.

torch.optim.Muon takes matrices alone. Here a filter [O,I,h,w] is the matrix [O,I*h*w], and is kept
at the norm sqrt(O) that a norm layer behind it makes arbitrary anyway (CIFAR-10 airbench).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import torch

from training.precision import has_bfloat16

NEWTON_SCHULZ_STEPS = 3
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # slope at 0 as steep as still ends within 0.7 to 1.2
SGD_MOMENTUM = 0.85  # airbench's, of all that is not a filter


class FilterMuon(torch.optim.Optimizer):
    """Groups marked `"filters": True` step by Muon, the others by SGD with Nesterov momentum.

    `momentum` is that of the filters. Groups bring `lr` and may bring `weight_decay`, which is
    added to the gradient and left out for filters: their norm is fixed.
    """

    def __init__(self, groups: list[dict[str, Any]], *, momentum: float) -> None:
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0, "filters": False})
        for group in self.param_groups:
            group["momentum"] = momentum if group["filters"] else SGD_MOMENTUM

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step from the parameters' gradients; a closure would have to be run by the caller."""
        assert closure is None, "a step has one gradient"
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, parameter.grad, group)
        return None

    def _step(self, weight: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        if group["weight_decay"]:
            gradient = gradient.add(weight, alpha=group["weight_decay"])
        velocity = state["momentum_buffer"].mul_(group["momentum"]).add_(gradient)
        change = gradient.add(velocity, alpha=group["momentum"])
        if group["filters"]:
            weight.mul_(len(weight) ** 0.5 / weight.norm())
            # Channels last: a view of how filters lie in memory. The order of a matrix's columns
            # makes no difference to its singular values.
            matrix_OI = change.permute(0, 2, 3, 1).flatten(1)
            change = orthogonal(matrix_OI).view(change.permute(0, 2, 3, 1).shape)
            change = change.permute(0, 3, 1, 2)
        weight.add_(change, alpha=-group["lr"])


def orthogonal(matrix_OI: torch.Tensor) -> torch.Tensor:
    """About U V' of the singular value decomposition U S V': float [O,I] to the same.

    By Newton and Schulz's iteration, in bfloat16 where the hardware multiplies it: on two cores of
    a Zen 5 processor the `fast` preset's filters take 16 ms for 51. A processor without
    instructions for it would spend longer here than on the rest of the step.
    """
    a, b, c = NEWTON_SCHULZ
    x = matrix_OI.bfloat16() if has_bfloat16(matrix_OI.device) else matrix_OI.float()
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    nearest: torch.Tensor = x.T if tall else x
    return nearest.to(matrix_OI.dtype)
