"""The batch size at load: as large as pays, and never above its limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.batch_size import choose_batch_rows


class Timed:
    """A stand-in for a session on a clock of its own: a run takes `fixed_s` and `row_s` a row."""

    inputs: Mapping[str, tuple[str, tuple[int | str, ...]]] = {"x": ("float32", ("N", "T"))}

    def __init__(self, fixed_s: float, row_s: float) -> None:
        self.now_s = 0.0
        self.fixed_s, self.row_s = fixed_s, row_s
        self.rows: list[int] = []

    def run(self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str] = ()) -> None:
        rows = len(inputs["x"])
        assert inputs["x"].dtype == np.float32
        self.rows.append(rows)
        self.now_s += self.fixed_s + self.row_s * rows


def chosen(fixed_s: float, row_s: float, limit: int) -> int:
    session = Timed(fixed_s, row_s)
    rows = choose_batch_rows(session, {}, limit, clock=lambda: session.now_s)  # type: ignore[arg-type]
    assert max(session.rows) <= limit
    return rows


def test_rows_that_get_no_cheaper_make_no_large_batches() -> None:
    assert chosen(0.0, 0.002, 64) == 8


def test_runs_are_long_enough_to_be_worth_it() -> None:
    assert chosen(0.0, 0.0005, 64) == 32
    assert chosen(0.0, 0.0001, 64) == 64


def test_rows_that_share_a_cost_go_together() -> None:
    assert chosen(1.0, 0.001, 64) == 64
    assert chosen(0.100, 0.010, 64) == 32
    assert chosen(0.020, 0.010, 64) == 8


@pytest.mark.parametrize("limit", [1, 2, 5, 8, 16, 100])
def test_the_limit_holds(limit: int) -> None:
    assert chosen(1.0, 0.0, limit) == limit
