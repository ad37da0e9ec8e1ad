"""Which precision is served, and why."""

from __future__ import annotations

import math

import pytest

from service.contract import Golden, Variant
from training.errors import GateRefusedError
from training.quantise.choice import LEAST_SPEEDUP, Demand, choose, explain_choice

ACCURACY = Demand("test_accuracy", "max", most_loss=0.003, timed_rows=8)
LOSS = Demand("val_loss_nats", "min", most_loss=0.01, timed_rows=1)


def variant(metric: str, value: float, rows_per_s: float) -> Variant:
    return Variant(
        precision="float32",
        graph="g",
        golden_file="f",
        golden=Golden(rows=1, max_abs_error={}),
        metrics={metric: value},
        rows_per_s=rows_per_s,
    )


@pytest.mark.parametrize(
    ("demand", "before", "after", "speedup", "picked"),
    [
        (ACCURACY, 0.940, 0.938, 2.0, "int8"),
        (ACCURACY, 0.940, 0.936, 2.0, "float32"),
        (ACCURACY, 0.940, 0.945, 2.0, "int8"),
        (ACCURACY, 0.940, 0.940, LEAST_SPEEDUP - 0.01, "float32"),
        (ACCURACY, 0.940, math.nan, 2.0, "float32"),
        (LOSS, 1.47, 1.479, 3.0, "int8"),
        (LOSS, 1.47, 1.481, 3.0, "float32"),
        (LOSS, 1.47, 1.40, 3.0, "int8"),
    ],
)
def test_the_gate_picks(
    demand: Demand, before: float, after: float, speedup: float, picked: str
) -> None:
    float32 = variant(demand.metric, before, 100.0)
    int8 = variant(demand.metric, after, 100.0 * speedup)
    choice = choose(demand, float32, int8)
    assert choice.picked == picked
    assert choice.speedup == pytest.approx(speedup)
    assert explain_choice(choice).startswith(f"{picked} is served")


def test_who_wants_float32_gets_it() -> None:
    pair = (variant("test_accuracy", 0.9, 100.0), variant("test_accuracy", 0.9, 300.0))
    assert choose(ACCURACY, *pair, wanted="float32").picked == "float32"


def test_who_wants_int8_gets_it_however_slow_but_never_a_bad_one() -> None:
    good = variant("test_accuracy", 0.9, 100.0)
    assert choose(ACCURACY, good, good, wanted="int8").picked == "int8"
    with pytest.raises(GateRefusedError, match=r"int8 loses 0\.1 of test_accuracy"):
        choose(ACCURACY, good, variant("test_accuracy", 0.8, 900.0), wanted="int8")
