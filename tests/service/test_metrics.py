"""Outcomes, and the samples of workers that are gone."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import (
    DeadlineExceededError,
    InvalidInputError,
    NotReadyError,
    OverloadedError,
    RateLimitedError,
    TooLargeError,
    TriptychError,
)
from service.metrics import Outcome, outcome_of
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (InvalidInputError(""), "invalid"),
        (TooLargeError(""), "invalid"),
        (OverloadedError("", retry_after_s=1), "overloaded"),
        (RateLimitedError("", retry_after_s=1), "invalid"),
        (NotReadyError(""), "not_ready"),
        (DeadlineExceededError(""), "deadline"),
        (TriptychError(""), "error"),
        (KeyError(""), "error"),
        (asyncio.CancelledError(), "cancelled"),
        (GeneratorExit(), "cancelled"),
    ],
)
def test_errors_are_sorted_into_outcomes(error: BaseException, outcome: Outcome) -> None:
    assert outcome_of(error) == outcome


WORKER = """
from service import metrics
metrics.ModelMetrics("m").add_waiting(3)
metrics.LOAD_FAILURES.labels("m").inc()
"""
NEXT_WORKER = """
import asyncio
import sys
from service import metrics
if "forget" in sys.argv:
    metrics.forget_dead_workers()
metrics.ModelMetrics("m").add_waiting(2)
metrics.LOAD_FAILURES.labels("m").inc()
print(asyncio.run(metrics.exposition()).decode())
"""


@pytest.mark.parametrize(("argument", "waiting"), [("forget", "2.0"), ("keep", "5.0")])
def test_a_dead_workers_queue_is_forgotten_but_not_its_counts(
    tmp_path: Path, argument: str, waiting: str
) -> None:
    def run(program: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", program, argument],
            cwd=ROOT,
            env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout

    run(WORKER)
    lines = run(NEXT_WORKER).splitlines()
    assert f'triptych_queue_rows{{model="m"}} {waiting}' in lines
    assert 'triptych_model_load_failures_total{model="m"} 2.0' in lines
