"""The batch size at load: as large as pays, and never above its limit."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service import batch_size
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


def chosen(fixed_s: float, row_s: float, limit: int, monkeypatch: pytest.MonkeyPatch) -> int:
    session = Timed(fixed_s, row_s)
    monkeypatch.setattr(batch_size, "time", session)
    monkeypatch.setattr(session, "perf_counter", lambda: session.now_s, raising=False)
    rows = choose_batch_rows(session, {}, limit)  # type: ignore[arg-type]
    assert max(session.rows) <= limit
    return rows


def test_rows_that_get_no_cheaper_make_no_large_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(0.0, 0.002, 64, monkeypatch) == 8


def test_runs_are_long_enough_to_be_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(0.0, 0.0005, 64, monkeypatch) == 32
    assert chosen(0.0, 0.0001, 64, monkeypatch) == 64


def test_rows_that_share_a_cost_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(1.0, 0.001, 64, monkeypatch) == 64
    assert chosen(0.020, 0.010, 64, monkeypatch) == 32
    assert chosen(0.010, 0.010, 64, monkeypatch) == 16


@pytest.mark.parametrize("limit", [1, 2, 5, 8, 9, 100])
def test_the_limit_holds(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(1.0, 0.0, limit, monkeypatch) == limit


def test_the_clock_is_the_real_one() -> None:
    assert batch_size.time is time
