"""The arithmetic of load tests: schedules, the search, least squares, queues, advice, verdicts."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from tests.bench.load.advice import advise, highest_within
from tests.bench.load.arrivals import arrival_times, assign
from tests.bench.load.costs import cost_of, fit_line
from tests.bench.load.observe import between, totals
from tests.bench.load.overload import judge, queue_bound_ms, together
from tests.bench.load.queueing import beside_run_s, waits
from tests.bench.load.search import Effort, find_highest
from tests.conftest import ROOT


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# --- when requests are due ----------------------------------------------------------------


def test_constant_arrivals_are_evenly_spaced():
    due_s = arrival_times(200, 1.5, "constant", rng())
    assert len(due_s) == 300
    assert due_s[0] == 0
    np.testing.assert_allclose(np.diff(due_s), 0.005)
    assert len(arrival_times(0.1, 30, "constant", rng())) == 3
    assert len(arrival_times(0.1, 5, "constant", rng())) == 1


def test_random_arrivals_have_the_rate_and_are_independent():
    due_s = arrival_times(500, 200, "poisson", rng())
    gaps_s = np.diff(due_s)
    assert (gaps_s >= 0).all()
    assert due_s[-1] < 200
    assert len(due_s) / 200 == pytest.approx(500, rel=0.02)
    # Of an exponential distribution mean and standard deviation are one.
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(1, rel=0.02)


def test_shares_of_a_mix_need_not_add_up():
    kinds = assign([7, 2, 1], 100_000, rng())
    np.testing.assert_allclose(np.bincount(kinds) / len(kinds), [0.7, 0.2, 0.1], atol=0.01)


# --- the search ---------------------------------------------------------------------------


def queue_probe(row_s: float, objective_ms: float, tried: list[float]):
    """A service that answers one request after another, each in `row_s`, at exactly 1/row_s."""

    def probe(rate):
        tried.append(rate)
        arrival_s = arrival_times(rate, 20, "constant", rng())
        latency_s = waits(arrival_s, a_s=0, row_s=row_s, max_rows=1)
        p99_ms = 1000 * float(np.quantile(latency_s, 0.99))
        return {"rate": rate, "objective_met": p99_ms <= objective_ms, "void": ""}

    return probe


@pytest.mark.parametrize("capacity", [3.0, 137.0, 640.0])
def test_the_capacity_of_a_service_is_found(capacity):
    tried: list[float] = []
    # 1.5 times its own time: none may wait.
    found = find_highest(queue_probe(1 / capacity, 1500 / capacity, tried), Effort())
    assert 0.95 * capacity <= found.highest <= 1.01 * capacity
    assert found.bound == "objective"
    assert len(found.confirmed) == 3
    assert {point["rate"] for point in found.confirmed} == {found.highest}
    assert len(tried) < 60
    rates = [point["rate"] for point in found.points]
    assert rates == sorted(rates)
    assert min(rates) < 0.11 * found.highest < 1.29 * found.highest < max(rates)


def test_one_disturbed_step_does_not_lower_the_rate():
    calls = []

    def probe(rate):
        calls.append(rate)
        disturbed = len(calls) % 6 == 0
        return {"rate": rate, "objective_met": rate <= 100 and not disturbed, "void": ""}

    assert find_highest(probe, Effort(repeats=2)).highest > 88


def test_a_service_that_never_meets_the_objective():
    def probe(rate):
        return {"rate": rate, "objective_met": False, "void": ""}

    found = find_highest(probe, Effort())
    assert (found.highest, found.points) == (0.0, [])


def test_a_generator_that_cannot_keep_up_is_what_bounds_the_rate():
    def probe(rate):
        return {"rate": rate, "objective_met": True, "void": "late" if rate > 50 else ""}

    found = find_highest(probe, Effort())
    assert 45 < found.highest <= 50
    assert found.bound == "late"


def test_short_steps_that_promise_too_much():
    def probe(rate):
        return {"rate": rate, "objective_met": rate <= 20, "void": ""}

    def quick(rate):
        return {"rate": rate, "objective_met": rate <= 200, "void": ""}

    assert 19 < find_highest(probe, Effort(), quick=quick).highest <= 20


# --- what a batch costs -------------------------------------------------------------------


def test_least_squares_on_a_known_line():
    line = fit_line([1, 2, 4, 8], [0.012, 0.014, 0.018, 0.026])
    assert (line.a_s, line.b_s) == pytest.approx((0.010, 0.002))
    assert line.mse_s2 == pytest.approx(0, abs=1e-20)
    assert line.r2 == pytest.approx(1)
    assert line.at(16) == pytest.approx(0.042)


def test_least_squares_with_residuals_is_that_of_numpy():
    rows = np.repeat([1, 2, 4, 8, 16, 32, 64], 20)
    seconds = 0.01 + 0.003 * rows + rng().normal(0, 0.004, len(rows))
    line = fit_line(rows, seconds)
    (b_s, a_s), (residuals, *_) = np.polyfit(rows, seconds, 1, full=True)[:2]
    assert (line.a_s, line.b_s) == pytest.approx((a_s, b_s))
    assert line.mse_s2 == pytest.approx(float(residuals) / len(rows))
    assert 0.9 < line.r2 < 1


def test_one_size_makes_no_line():
    with pytest.raises(ValueError, match="at least two different sizes"):
        fit_line([8, 8], [0.1, 0.2])


def test_the_line_is_held_against_what_a_service_says():
    runs = {"rows": [1, 2, 3], "seconds": [0.03, 0.05, 0.07]}
    seen = [{"endpoint": "classify", "rows": 2.5, "seconds": 0.066}]
    found = cost_of({"model": "m", "kind": "cnn", "precision": "int8"}, runs, seen)
    assert (found["a_ms"], found["b_ms"]) == pytest.approx((10, 20))
    assert found["seen"][0]["ratio"] == pytest.approx(1.1)


def test_runs_between_two_looks_at_the_metrics():
    def text(runs, seconds, rows):
        return (
            "# TYPE triptych_inference_seconds histogram\n"
            f'triptych_inference_seconds_count{{model="m"}} {runs}\n'
            f'triptych_inference_seconds_sum{{model="m"}} {seconds}\n'
            "# TYPE triptych_batch_rows histogram\n"
            f'triptych_batch_rows_sum{{model="m"}} {rows}\n'
        )

    found = between(totals(text(10, 1.0, 80)), totals(text(30, 5.0, 240)))
    assert found == {"m": {"runs": 20.0, "rows": 8.0, "seconds": 0.2}}
    assert between(totals(text(10, 1.0, 80)), totals(text(10, 1.0, 80))) == {}


# --- queues -------------------------------------------------------------------------------


def test_one_at_a_time_the_simulated_queue_is_m_d_1():
    """Mean wait of M/D/1: load x service / (2 (1 - load)) (Pollaczek-Khinchine)."""
    service_s, load = 0.01, 0.7
    arrival_s = arrival_times(load / service_s, 2_000, "poisson", rng())
    latency_s = waits(arrival_s, a_s=0, row_s=service_s, max_rows=1)
    expected_s = service_s + load * service_s / (2 * (1 - load))
    assert latency_s.mean() == pytest.approx(expected_s, rel=0.04)


def test_batches_take_what_waits():
    latency_s = waits([0, 1, 1, 1, 1], a_s=2, row_s=1, max_rows=3)
    # The first alone, 0 to 3; three of those who came meanwhile, 3 to 8; the last, 8 to 11.
    assert latency_s.tolist() == [3, 7, 7, 7, 10]


def test_what_a_request_costs_beside_its_run():
    beside_s = beside_run_s(100, a_s=0.008, b_s=0.006, max_rows=8)
    assert beside_s == pytest.approx(0.010 - 0.001 - 0.006)
    assert beside_run_s(1000, a_s=0.008, b_s=0.006, max_rows=8) == 0


# --- advice -------------------------------------------------------------------------------


def test_replicas_for_a_rate():
    assert advise(2000, 320).replicas == math.ceil(2000 / (0.7 * 320)) == 9
    assert advise(70, 100).replicas == 1
    assert advise(70.1, 100).replicas == 2
    assert advise(2000, 320, utilisation=1).replicas == 7
    two = advise(140, 100)
    assert (two.replicas, two.each, two.without_one) == (2, 70, 1.4)


@pytest.mark.parametrize(
    ("rate", "highest", "utilisation", "message"),
    [
        (0, 100, 0.7, "rate must be above 0"),
        (math.nan, 100, 0.7, "rate must be above 0"),
        (10, 0, 0.7, "does not meet the objective at any rate"),
        (10, 100, 1.5, "utilisation must be above 0 and at most 1"),
    ],
)
def test_advice_that_makes_no_sense(rate, highest, utilisation, message):
    with pytest.raises(ValueError, match=message):
        advise(rate, highest, utilisation)


def curve(*pairs):
    return [
        {"rate": rate, "parts": {"classify": {"ok": ok, "sent": 10, "p99_ms": p99_ms}}}
        for rate, p99_ms, ok in pairs
    ]


def test_an_objective_that_was_not_measured_is_read_from_the_curve():
    points = curve((50, 10, 10), (100, 20, 10), (200, 40, 10), (300, 400, 10))
    assert highest_within(points, "classify", 40) == pytest.approx(200)
    assert highest_within(points, "classify", 30) == pytest.approx(150)
    assert highest_within(points, "classify", 5) == 0
    assert highest_within(points, "classify", 1000) == 300


def test_a_rate_with_failed_requests_is_within_no_objective():
    points = curve((100, 20, 10), (200, 20, 9), (200, 20, 9), (200, 20, 10))
    assert highest_within(points, "classify", 50) == 100


def test_advice_from_the_command_line(tmp_path):
    report = {
        "endpoints": [
            {
                "name": "classify",
                "objectives_ms": {"classify": 50.0},
                "highest": 300.0,
                "points": curve((50, 10, 10), (100, 20, 10), (200, 40, 10), (300, 45, 10)),
            }
        ]
    }
    path = tmp_path / "capacity.json"
    path.write_text(json.dumps(report))

    def asked(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tests.bench.load", "advise", "--report", str(path), *more]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    told = asked("--rate", "2000", "--endpoint", "classify", "--objective", "p99=30ms")
    assert told.stdout.startswith("20 replicas of one core = ceil(2000 / (0.7 x 150.0))")
    assert "Each then answers 100.0 requests/s, 67% of that" in told.stdout
    wrong = asked("--rate", "2000", "--endpoint", "paint")
    assert wrong.returncode == 1
    assert "there is no 'paint'; there is classify" in wrong.stderr


# --- overload -----------------------------------------------------------------------------


def step(**changed):
    part = {"refused_p99_ms": 4.0, "p50_ms": 60.0, "p99_ms": 70.0, "max_ms": 80.0}
    figures = {"goodput": 95.0, "sent": 200, "ok": 100, "in_time": 95, "refused": 100,
               "with_retry_after": 100, "lost": 0, "other": 0}  # fmt: skip
    part |= {key: value for key, value in changed.items() if key in part}
    figures |= {key: value for key, value in changed.items() if key in figures}
    return {**figures, "rate": 200.0, "parts": {"classify": part}}


def test_an_overload_that_is_stood():
    found = judge(step(), "classify", most_goodput=100.0, bound_ms=75.0)
    assert [verdict["reached"] for verdict in found["verdicts"]] == [True] * 5
    assert found["verdicts"][0]["measured"] == "95.0% of 100.0/s"


@pytest.mark.parametrize(
    ("changed", "which"),
    [
        ({"goodput": 89.0}, 0),
        ({"with_retry_after": 99}, 1),
        ({"refused_p99_ms": 21.0}, 2),
        ({"p99_ms": 76.0}, 3),
        ({"p99_ms": None}, 3),
        ({"lost": 1}, 4),
    ],
)
def test_an_overload_that_is_not(changed, which):
    found = judge(step(**changed), "classify", most_goodput=100.0, bound_ms=75.0)
    missed = [index for index, one in enumerate(found["verdicts"]) if not one["reached"]]
    assert missed == [which]


def test_rounds_are_judged_by_their_mean_goodput_and_their_worst_latencies():
    rounds = [step(goodput=100.0), step(goodput=90.0, p99_ms=None, refused_p99_ms=9.0, other=2)]
    found = together(rounds, "classify")
    assert (found["goodput"], found["refused"], found["other"]) == (95.0, 200, 2)
    assert found["parts"]["classify"]["p99_ms"] == 70.0
    assert found["parts"]["classify"]["refused_p99_ms"] == 9.0
    nobody = together([step(refused_p99_ms=None)] * 2, "classify")
    assert nobody["parts"]["classify"]["refused_p99_ms"] is None


def test_nothing_is_known_of_refusals_where_none_was():
    found = judge(
        step(refused=0, with_retry_after=0, refused_p99_ms=None),
        "classify", most_goodput=100.0, bound_ms=75.0,
    )  # fmt: skip
    assert [verdict["reached"] for verdict in found["verdicts"]] == [True, None, None, True, True]


def test_a_queue_s_limit_of_time_bounds_the_latency_or_else_its_rows():
    common = {"most_goodput": 200.0, "objective_ms": 50.0}
    assert queue_bound_ms(max_queue_ms=25, max_queue_rows=1024, **common) == 75
    assert queue_bound_ms(max_queue_ms=0, max_queue_rows=100, **common) == 550
