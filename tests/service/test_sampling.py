"""The sampler against a plain reading of its definition, and against chance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from service.sampling import Sampler, SamplingParameters, log_softmax

VOCABULARY = 65


def weights(logits_V: NDArray[np.float32], asked: SamplingParameters) -> list[float]:
    """Unnormalised probabilities that remain, one index at a time."""
    temperature = asked.temperature or 1.0
    top = max(float(value) for value in logits_V)
    weight = [math.exp((float(value) - top) / temperature) for value in logits_V]
    ranked = sorted(range(len(weight)), key=lambda index: (-weight[index], index))
    kept = ranked[: asked.top_k] if asked.top_k else ranked
    total, before = math.fsum(weight), 0.0
    nucleus = []
    for index in ranked:
        if asked.top_p < 1 and before >= asked.top_p * total and nucleus:
            break
        nucleus.append(index)
        before += weight[index]
    allowed = set(kept) & set(nucleus)
    return [value if index in allowed else 0.0 for index, value in enumerate(weight)]


def reference(logits_V: NDArray[np.float32], asked: SamplingParameters, uniform: float) -> int:
    """Walk the cumulative distribution up to `uniform`."""
    if asked.temperature == 0:
        return max(range(len(logits_V)), key=lambda index: (logits_V[index], -index))
    weight = weights(logits_V, asked)
    target, reached = uniform * sum(weight), 0.0
    for index, value in enumerate(weight):
        reached += value
        if reached > target:
            return index
    raise AssertionError("the cumulative distribution ends at 1")


def random_parameters(rng: np.random.Generator) -> SamplingParameters:
    return SamplingParameters(
        temperature=float(rng.choice([0.0, 0.1, 0.7, 1.0, 2.0])),
        top_k=int(rng.choice([0, 1, 2, 5, 64, 65, 1000])),
        top_p=float(rng.choice([0.0, 0.1, 0.5, 0.9, 0.999, 1.0])),
    )


def draw_batch(
    rng: np.random.Generator, rows: int
) -> tuple[NDArray[np.float32], list[SamplingParameters], NDArray[np.float64]]:
    logits_NV = (rng.standard_normal((rows, VOCABULARY)) * 4).astype(np.float32)
    return logits_NV, [random_parameters(rng) for _ in range(rows)], rng.random(rows)


def test_choices_are_those_of_the_reference() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        logits_NV, asked, uniform_N = draw_batch(rng, 40)
        chosen = Sampler(asked, VOCABULARY).choose(logits_NV, uniform_N)
        expected = [
            reference(logits_V, one, float(uniform))
            for logits_V, one, uniform in zip(logits_NV, asked, uniform_N, strict=True)
        ]
        assert chosen == expected


def test_a_row_is_chosen_alike_alone_and_in_any_company() -> None:
    rng = np.random.default_rng(1)
    logits_NV, asked, uniform_N = draw_batch(rng, 64)
    together = Sampler(asked, VOCABULARY).choose(logits_NV, uniform_N)
    for rows in (1, 2, 3, 7, 15, 16, 17, 32, 33):
        for first in range(0, 64 - rows, rows):
            part = slice(first, first + rows)
            sampler = Sampler(asked[part], VOCABULARY)
            assert sampler.choose(logits_NV[part], uniform_N[part]) == together[part]


def test_a_truncating_neighbour_does_not_truncate() -> None:
    """With the uniform at its least, the first index of any weight at all is taken."""
    logits_NV = np.array([[-40.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=np.float32)
    plain, narrow = SamplingParameters(), SamplingParameters(top_k=1)
    alone = Sampler([plain], 3).choose(logits_NV[:1], np.zeros(1))
    beside = Sampler([plain, narrow], 3).choose(logits_NV, np.zeros(2))
    assert alone == beside[:1] == [0]


def test_a_sampler_can_be_used_again() -> None:
    rng = np.random.default_rng(2)
    logits_NV, asked, uniform_N = draw_batch(rng, 5)
    sampler = Sampler(asked, VOCABULARY)
    first = sampler.choose(logits_NV, uniform_N)
    sampler.choose(-logits_NV, 1 - uniform_N - 1e-9)
    assert sampler.choose(logits_NV, uniform_N) == first


def test_temperature_zero_is_argmax_with_the_first_of_equals() -> None:
    logits_NV = np.array([[1, 3, 2, 3], [5, 1, 1, 1]], dtype=np.float32)
    sampler = Sampler([SamplingParameters(temperature=0, top_k=2, top_p=0.5)] * 2, 4)
    assert sampler.choose(logits_NV, np.array([0.999, 0.0])) == [1, 0]


@pytest.mark.parametrize("temperature", [5e-324, 1e-308, 1e-30, 1e-3])
def test_a_temperature_near_zero_is_nearly_argmax(temperature: float) -> None:
    logits_NV = np.array([[-50, 80, 30, 79.5], [-3, -1, -2, -90]], dtype=np.float32)
    sampler = Sampler([SamplingParameters(temperature=temperature)] * 2, 4)
    assert sampler.choose(logits_NV, np.array([0.0, 0.999])) == [1, 1]


def test_huge_logits_do_not_overflow() -> None:
    logits_NV = np.array([[3e38, -3e38, 0]], dtype=np.float32)
    for temperature in (0.0, 0.5, 1.0, 2.0):
        sampler = Sampler([SamplingParameters(temperature=temperature)], 3)
        assert sampler.choose(logits_NV, np.array([0.5])) == [0]
    assert np.isfinite(log_softmax(logits_NV)[0, 0])


def test_uniforms_at_the_edges_stay_inside() -> None:
    logits_NV = np.zeros((2, VOCABULARY), dtype=np.float32)
    sampler = Sampler([SamplingParameters()] * 2, VOCABULARY)
    assert sampler.choose(logits_NV, np.array([0.0, np.nextafter(1, 0)])) == [0, VOCABULARY - 1]


@pytest.mark.parametrize(
    "asked",
    [
        SamplingParameters(),
        SamplingParameters(temperature=0.5),
        SamplingParameters(top_k=4),
        SamplingParameters(top_p=0.8),
        SamplingParameters(temperature=1.5, top_k=6, top_p=0.9),
    ],
    ids=str,
)
def test_frequencies_fit_the_probabilities(asked: SamplingParameters) -> None:
    """Chi-square (Pearson 1900): of 15 degrees of freedom 1 in 1,000 exceeds 37.7."""
    draws = 20_000
    rng = np.random.default_rng(3)
    logits_V = rng.standard_normal(16).astype(np.float32)
    sampler = Sampler([asked] * 100, 16)
    logits_NV = np.tile(logits_V, (100, 1))
    counts = np.zeros(16)
    for _ in range(draws // 100):
        np.add.at(counts, sampler.choose(logits_NV, rng.random(100)), 1)
    weight_V = np.array(weights(logits_V, asked))
    expected_V = draws * weight_V / weight_V.sum()
    possible = expected_V > 0
    assert counts[~possible].sum() == 0
    chi_square = ((counts - expected_V)[possible] ** 2 / expected_V[possible]).sum()
    assert chi_square < 37.7


def test_log_softmax_is_right_and_row_by_row() -> None:
    rng = np.random.default_rng(4)
    logits_NV = (rng.standard_normal((33, VOCABULARY)) * 10).astype(np.float32)
    together = log_softmax(logits_NV)
    for row, logits_V in enumerate(logits_NV):
        normaliser = math.log(math.fsum(math.exp(float(value)) for value in logits_V))
        np.testing.assert_allclose(
            together[row], logits_V.astype(float) - normaliser, rtol=0, atol=1e-9
        )
        np.testing.assert_array_equal(log_softmax(logits_NV[row : row + 1])[0], together[row])
