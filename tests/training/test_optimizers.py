from __future__ import annotations

import pytest
import torch
from torch import nn

from training.config import OptimizerConfig, ScheduleConfig
from training.optimizers import Average, build_optimizer, learning_rate_scale
from training.seeds import derive, order


def scales(config: ScheduleConfig) -> list[float]:
    return [learning_rate_scale(config, step / 10) for step in range(10)]


def test_schedules_rise_to_the_peak_and_fall_to_the_end() -> None:
    linear = scales(ScheduleConfig(name="linear", warmup=0.2, final=0.2))
    assert linear == pytest.approx([0, 0.5, 1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3])
    cosine = ScheduleConfig(name="cosine", warmup=0.0)
    assert learning_rate_scale(cosine, 0) == 1
    assert learning_rate_scale(cosine, 0.5) == pytest.approx(0.5)
    assert learning_rate_scale(cosine, 1) == pytest.approx(0)
    assert scales(ScheduleConfig(name="constant", warmup=0.0)) == [1.0] * 10


def test_weight_decay_spares_biases_and_norms() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = build_optimizer(module, OptimizerConfig(name="sgd", weight_decay=0.1))
    decayed, spared = optimizer.param_groups
    assert decayed["weight_decay"] == 0.1 and [p.ndim for p in decayed["params"]] == [4]
    assert spared["weight_decay"] == 0 and [p.ndim for p in spared["params"]] == [1, 1, 1]


@pytest.mark.parametrize(
    ("name", "type_"),
    [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)],
)
def test_each_optimiser_is_the_one_named(name: str, type_: type) -> None:
    optimizer = build_optimizer(nn.Linear(2, 2), OptimizerConfig(name=name))  # type: ignore[arg-type]
    assert type(optimizer) is type_


def test_the_average_forgets_the_start_and_nears_a_module_at_rest() -> None:
    module = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(module.weight)
    average = Average(module, decay=0.9)
    nn.init.ones_(module.weight)
    seen = []
    for step in range(200):
        average.update(module, step)
        seen.append(float(average.module.weight))
    assert seen[0] == pytest.approx(0.9)  # 1 - (1 + 0) / (10 + 0)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)


def test_without_decay_the_average_is_the_module_counters_included() -> None:
    module = nn.BatchNorm2d(3)
    average = Average(module, decay=0.0)
    module(torch.randn(4, 3, 2, 2))
    average.update(module, 0)
    for mine, other in zip(
        average.module.state_dict().values(), module.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, other)
    assert not average.module.training


def test_seeds_are_told_apart_by_every_part_and_fit_63_bits() -> None:
    seeds = {derive(1, "a", 1), derive(1, "a", 2), derive(1, "b", 1), derive(2, "a", 1)}
    assert len(seeds) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive(1, "a", 1) == derive(1, "a", 1)


def test_an_epochs_order_is_a_permutation_of_its_own() -> None:
    first, second = order(100, 1, 0), order(100, 1, 1)
    assert sorted(first.tolist()) == list(range(100))
    assert not torch.equal(first, second)
    assert torch.equal(first, order(100, 1, 0))
