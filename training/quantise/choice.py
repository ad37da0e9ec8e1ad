"""Which precision is served: int8 where it loses next to nothing and pays."""

from __future__ import annotations

from dataclasses import dataclass

from service.contract import Choice, Precision, Variant
from training.errors import GateRefusedError
from training.gate import Goal

LEAST_SPEEDUP = 1.2
"""Below this the int8 graph saves less than machines differ by, and is not worth figures that are
not quite the network's own."""


@dataclass(frozen=True)
class Demand:
    """What the int8 form of a kind's models must keep.

    `most_loss` is in the metric's own units. `timed_rows` is the batch that it is timed in: what
    its users wait for.
    """

    metric: str
    goal: Goal
    most_loss: float
    timed_rows: int


def choose(demand: Demand, float32: Variant, int8: Variant, wanted: str = "auto") -> Choice:
    """Weigh the variants; `wanted` float32 or int8 leaves speed out of it.

    Raises GateRefusedError if int8 is wanted and loses too much.
    """
    assert float32.rows_per_s and int8.rows_per_s, "variants are timed before they are weighed"
    sign = 1.0 if demand.goal == "max" else -1.0
    loss = sign * (float32.metrics[demand.metric] - int8.metrics[demand.metric])
    speedup = int8.rows_per_s / float32.rows_per_s
    keeps = loss <= demand.most_loss  # False for NaN
    if wanted == "int8" and not keeps:
        raise GateRefusedError(
            f"int8 loses {loss:.4g} of {demand.metric}; {demand.most_loss:g} is allowed: "
            "leave --precision out"
        )
    pays = wanted == "int8" or (wanted == "auto" and speedup >= LEAST_SPEEDUP)
    picked: Precision = "int8" if keeps and pays else "float32"
    return Choice(
        picked=picked,
        metric=demand.metric,
        loss=loss,
        most_loss=demand.most_loss,
        speedup=speedup,
        least_speedup=LEAST_SPEEDUP,
        timed_rows=demand.timed_rows,
    )


def explain_choice(choice: Choice) -> str:
    """The choice in a sentence, with its reasons."""
    rows = "one row" if choice.timed_rows == 1 else f"batches of {choice.timed_rows}"
    change = "gains" if choice.loss < 0 else "loses"
    return (
        f"{choice.picked} is served: in {rows} on one thread int8 is {choice.speedup:.2f} times as "
        f"fast as float32 (at least {choice.least_speedup:g} is worth it), and it {change} "
        f"{abs(choice.loss):.2g} of `{choice.metric}` (at most {choice.most_loss:g} may be lost)"
    )
