"""Beyond what is sustainable: what is accepted is answered in time, the rest refused at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.bench.load.step import totals

FACTOR = 2.0
LEAST_GOODPUT = 0.9
"""Of what is answered per second at the rate at which most is; measured in turns with it."""
REFUSAL_MS = 20.0


def together(steps: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    """Several steps at one rate as one: counts added up, the mean goodput, the worst latencies."""
    parts = [step["parts"][name] for step in steps]
    return {
        "rate": steps[0]["rate"],
        "rounds": len(steps),
        "goodput": float(np.mean([step["goodput"] for step in steps])),
        **totals(steps),
        "parts": {name: {key: _worst([part[key] for part in parts]) for key in _LATENCIES}},
    }


_LATENCIES = ("p50_ms", "p99_ms", "max_ms", "refused_p99_ms")


def _worst(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def judge(
    step: dict[str, Any], name: str, *, most_goodput: float, bound_ms: float
) -> dict[str, Any]:
    """Steps at twice the sustainable rate, held against what is promised of them.

    Args:
        step: their figures, as `together`.
        name: the endpoint's.
        most_goodput: the most good answers per second at any rate.
        bound_ms: the longest that what is accepted may take at p99: the limit of the queue and the
            objective, which holds without one.

    """
    part = step["parts"][name]
    refused = step["refused"] > 0  # if none was, nothing is known of refusals
    most = max(most_goodput, step["goodput"])
    share = step["goodput"] / most if most else 0.0
    verdicts = [
        _verdict("goodput of the most", "at least", f"{LEAST_GOODPUT:.0%}",
                 f"{share:.1%} of {most:,.1f}/s",
                 reached=share >= LEAST_GOODPUT),
        _verdict("refusals that say when to come again", "all", str(step["refused"]),
                 str(step["with_retry_after"]),
                 reached=step["with_retry_after"] == step["refused"] if refused else None),
        _verdict("p99 of a refusal", "at most", f"{REFUSAL_MS:g} ms", _ms(part["refused_p99_ms"]),
                 reached=part["refused_p99_ms"] <= REFUSAL_MS if refused else None),
        _verdict("p99 of what is accepted", "at most", f"{bound_ms:,.0f} ms", _ms(part["p99_ms"]),
                 reached=part["p99_ms"] is not None and part["p99_ms"] <= bound_ms),
        _verdict("lost, or failed otherwise", "at most", "0", str(step["lost"] + step["other"]),
                 reached=step["lost"] + step["other"] == 0),
    ]  # fmt: skip
    return {**step, "endpoint": name, "most_goodput": most, "bound_ms": bound_ms,
            "verdicts": verdicts}  # fmt: skip


def _verdict(
    what: str, sense: str, limit: str, measured: str, *, reached: bool | None
) -> dict[str, Any]:
    return {"what": what, "limit": f"{sense} {limit}", "measured": measured, "reached": reached}


def _ms(value: float | None) -> str:
    return "none" if value is None else f"{value:,.1f} ms"


def queue_bound_ms(
    *, max_queue_ms: float, max_queue_rows: int, most_goodput: float, objective_ms: float
) -> float:
    """How long what is accepted may take: the queue's limit, and the objective.

    A queue without a limit of time has one of rows, which leave it as fast as most are answered.
    """
    return (max_queue_ms or 1000 * max_queue_rows / most_goodput) + objective_ms
