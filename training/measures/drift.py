"""How far two samples lie apart, and whether chance could have done it.

The population stability index (Siddiqi, Credit Risk Scorecards, 2006) says how far: the sum over
bins of (q - p) ln(q / p), p and q being the bins' shares. It grows by itself when a sample is small
(Yurdakul and Naranjo, Statistical properties of the population stability index, 2020), so a
two-sample test must agree: Kolmogorov-Smirnov's for numbers, chi-square for counts, both held
against a significance divided by the number of tests (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import stats

BINS = 10  # Siddiqi's: tenths of the reference
HALF_A_COUNT = 0.5  # added to each bin: an empty one would make the index infinite
FEWEST_EXPECTED = 5.0  # in a cell of chi-square (Cochran 1954); rarer categories count as one

Verdict = Literal["fine", "note", "drift"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """From where on a difference is said, and from where on it is too much."""

    psi_note: float = 0.1
    """Siddiqi's rule of thumb: below it nothing has changed."""
    psi_refuse: float = 0.25
    """The same rule: from here on the population is another one."""
    significance: float = 0.01
    """Of all tests together; at 0.05 one check in twenty of healthy data would complain."""
    share_ratio: float = 3.0
    """How many times as large, or as small, a class' share may be: a third is still learned."""


@dataclass(frozen=True)
class Profile:
    """A sample as it is compared."""

    values: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Numbers by feature: [N] each."""
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """How often each category came, by feature."""


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """One feature, in the reference and now."""

    feature: str
    psi: float
    test: str
    p_value: float
    reference: float | None
    """Mean; None for counts."""
    found: float | None
    verdict: Verdict


def psi(expected_B: NDArray[Any], observed_B: NDArray[Any]) -> float:
    """Population stability index of counts by bin, [B] each; 0 for equal shares."""
    share_B = (expected_B + HALF_A_COUNT) / (expected_B + HALF_A_COUNT).sum()
    now_B = (observed_B + HALF_A_COUNT) / (observed_B + HALF_A_COUNT).sum()
    return float(((now_B - share_B) * np.log(now_B / share_B)).sum())


def psi_of_values(expected_N: NDArray[Any], observed_M: NDArray[Any]) -> float:
    """The index of numbers, in bins that hold a tenth of the reference each."""
    edges = np.unique(np.quantile(expected_N, np.linspace(0, 1, BINS + 1)[1:-1]))
    bins = len(edges) + 1
    expected_B, observed_B = (
        np.bincount(np.searchsorted(edges, sample, side="right"), minlength=bins)
        for sample in (expected_N, observed_M)
    )
    return psi(expected_B, observed_B)


def compare(expected: Profile, observed: Profile, limits: Limits) -> tuple[Drift, ...]:
    """Every feature that both have and of which both have something."""
    values = [name for name, sample in observed.values.items() if name in expected.values]
    counts = [name for name in observed.counts if name in expected.counts]
    pairs: list[tuple[str, float, str, float, float | None, float | None]] = []
    for name in values:
        before_N, now_M = expected.values[name], observed.values[name]
        if len(before_N) and len(now_M):
            p_value = float(stats.ks_2samp(before_N, now_M, method="asymp").pvalue)
            means = float(before_N.mean()), float(now_M.mean())
            pairs.append(
                (name, psi_of_values(before_N, now_M), "Kolmogorov-Smirnov", p_value, *means)
            )
    for name in counts:
        before, now = expected.counts[name], observed.counts[name]
        categories = sorted({*before, *now})
        before_C = np.array([before.get(category, 0) for category in categories], np.int64)
        now_C = np.array([now.get(category, 0) for category in categories], np.int64)
        if before_C.sum() and now_C.sum():
            p_value = _chi_square(before_C, now_C)
            pairs.append((name, psi(before_C, now_C), "chi-square", p_value, None, None))
    return tuple(
        Drift(
            feature=name,
            psi=index,
            test=test,
            p_value=p_value,
            reference=before_mean,
            found=now_mean,
            verdict=_judge(index, p_value * len(pairs), limits),
        )
        for name, index, test, p_value, before_mean, now_mean in pairs
    )


def share_differs(count: int, total: int, share: float, significance: float) -> bool:
    """Whether `count` of `total` is more than chance away from a share (binomial test)."""
    return bool(stats.binomtest(count, total, min(share, 1.0)).pvalue < significance)


def _judge(index: float, p_value: float, limits: Limits) -> Verdict:
    if p_value >= limits.significance or index < limits.psi_note:
        return "fine"
    return "drift" if index >= limits.psi_refuse else "note"


def _chi_square(before_C: NDArray[np.int64], now_C: NDArray[np.int64]) -> float:
    """Probability of so uneven a table [2, C] if both samples came of one population."""
    table_2C = np.stack([before_C, now_C])
    expected_2C = table_2C.sum(axis=1, keepdims=True) * table_2C.sum(axis=0) / table_2C.sum()
    is_rare_C = expected_2C.min(axis=0) < FEWEST_EXPECTED
    rest = table_2C[:, is_rare_C].sum(axis=1, keepdims=True)
    table_2C = np.hstack([table_2C[:, ~is_rare_C], rest] if rest.sum() else [table_2C])
    if table_2C.shape[1] < 2:
        return 1.0
    return float(stats.chi2_contingency(table_2C, correction=False).pvalue)
