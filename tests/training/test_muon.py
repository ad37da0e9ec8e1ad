from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from training.config import OptimizerConfig
from training.muon import FilterMuon, orthogonal
from training.optimizers import build_optimizer, set_learning_rate

MUON = OptimizerConfig(
    name="muon", lr=0.2, momentum=0.5, matrix_lr=0.01, vector_lr=3.0, weight_decay=0.1
)


@pytest.mark.parametrize("shape", [(8, 40), (40, 8)])
def test_singular_values_come_near_one_and_directions_stay(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    found = orthogonal(matrix)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    inside = left.T @ found @ right.T
    assert float((inside - torch.diag(torch.diagonal(inside))).abs().max()) < 0.05
    assert float(torch.diagonal(inside).min()) > 0.3
    assert float(torch.diagonal(inside).max()) < 1.3


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 4, 2)
    )


def test_each_parameter_steps_at_the_rate_of_its_group() -> None:
    module = network()
    optimizer = build_optimizer(module, MUON)
    assert isinstance(optimizer, FilterMuon)
    filters, matrices, vectors = optimizer.param_groups
    assert [p.ndim for p in filters["params"]] == [4] and filters["lr"] == 0.2
    assert [p.ndim for p in matrices["params"]] == [2] and matrices["lr"] == 0.01
    assert {p.ndim for p in vectors["params"]} == {1} and vectors["lr"] == 3.0
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.1, 0.0)
    set_learning_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.005, 1.5]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_filter_keeps_its_norm_and_takes_an_orthogonal_step(layout: torch.memory_format) -> None:
    module = network()
    conv = module[0]
    conv.weight.data = (3 * conv.weight.data).contiguous(memory_format=layout)
    optimizer = build_optimizer(module, MUON)
    F.cross_entropy(module(torch.randn(4, 3, 4, 4)), torch.tensor([0, 1, 0, 1])).backward()
    before = conv.weight.detach().clone()
    optimizer.step()
    start = before * 8**0.5 / before.norm()  # from the norm that every step begins with
    step_OI = (start - conv.weight.detach()).flatten(1) / 0.2
    gradient_OI = conv.weight.grad.flatten(1)
    torch.testing.assert_close(step_OI, orthogonal(1.5 * gradient_OI), atol=0.02, rtol=0.02)


def test_everything_else_steps_as_nesterovs_sgd_does() -> None:
    module, twin = network(), network()
    ours = build_optimizer(module, MUON)
    theirs = torch.optim.SGD(
        [
            {"params": [twin[3].weight], "lr": 0.01, "weight_decay": 0.1},
            {"params": [twin[1].weight, twin[1].bias, twin[3].bias], "lr": 3.0},
        ],
        momentum=0.85,
        nesterov=True,
    )
    for number in range(3):
        torch.manual_seed(number)
        for mine, other in zip(module.parameters(), twin.parameters(), strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        ours.step()
        theirs.step()
    for mine, other in list(zip(module.parameters(), twin.parameters(), strict=True))[1:]:
        torch.testing.assert_close(mine, other)
