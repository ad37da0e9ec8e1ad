"""Is one model worse than another on the same examples, or is it chance?

Both answer the same examples, so what makes an example hard falls out of the comparison, and far
smaller differences show than between two figures. All tests are one-sided: the p value is the
probability with which models equally good would come out at least as far apart in this direction.

What differs between two fits of the same configuration by their seeds alone is no chance in this
sense: it is a real difference between two models, and is found if the examples are many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 9_999
"""Of a bootstrap: the smallest p value it can find is 1 in 10,000."""
_CHUNK = 100


@dataclass(frozen=True)
class PairedTest:
    """What a comparison of a candidate with the served model found."""

    name: str
    """Of the test, in words."""
    value: float
    """The candidate's mean."""
    served: float
    """The served model's mean."""
    worse: int
    """Examples on which the candidate is worse."""
    better: int
    """Examples on which it is better; on the rest both are alike."""
    examples: int
    p_value: float
    """Of "the candidate is no worse", 0 to 1."""


def compare_pairs(
    candidate_N: NDArray[Any], served_N: NDArray[Any], *, more_is_better: bool, seed: int
) -> PairedTest:
    """Test the candidate's scores [N] against the served model's on the same examples.

    McNemar's test for what an example either has or has not (bool), a paired bootstrap, drawn by
    `seed`, for numbers.
    """
    assert candidate_N.shape == served_N.shape and candidate_N.ndim == 1, "a score per example"
    sign = 1.0 if more_is_better else -1.0
    # How much worse the candidate is, example by example.
    loss_N = sign * (served_N.astype(np.float64) - candidate_N.astype(np.float64))
    worse, better = int((loss_N > 0).sum()), int((loss_N < 0).sum())
    if candidate_N.dtype == np.bool_:
        name, p_value = "exact McNemar test", mcnemar(worse, better)
    else:
        name, p_value = "paired bootstrap", bootstrap(loss_N, seed)
    return PairedTest(
        name=name,
        value=float(candidate_N.mean()),
        served=float(served_N.mean()),
        worse=worse,
        better=better,
        examples=len(loss_N),
        p_value=p_value,
    )


def mcnemar(worse: int, better: int) -> float:
    """The p value of McNemar's test in its exact form: of n examples on which two models differ,
    each is as likely to be worse on one if they are equally good: P(X >= worse), X ~ B(n, 1/2).

    McNemar, Note on the sampling error of the difference between correlated proportions or
    percentages, Psychometrika 12, 1947.
    """
    n = worse + better
    ways, as_bad = math.comb(n, worse), 0
    for k in range(worse, n + 1):
        as_bad += ways
        ways = ways * (n - k) // (k + 1)  # from n over k to n over k + 1
    return as_bad / (1 << n)


def bootstrap(loss_N: NDArray[np.float64], seed: int) -> float:
    """The p value of "the mean of `loss_N` [N] is not above 0".

    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 16.4: the losses are moved
    to a mean of 0 and drawn again with replacement; p is the share of such draws, and of the one
    that was seen, whose mean is as large. Scores that depend on their neighbours, as consecutive
    windows of a text do a little, make it somewhat too sure.
    """
    seen = float(loss_N.mean())
    if not np.isfinite(seen):
        return 0.0  # a score that is no number is worse than any
    if not loss_N.any():
        return 1.0
    moved_N, count = loss_N - seen, len(loss_N)
    draw, as_large = np.random.default_rng(seed), 1
    for start in range(0, RESAMPLES, _CHUNK):
        rows = min(_CHUNK, RESAMPLES - start)
        drawn_RN = moved_N[draw.integers(0, count, (rows, count))]
        as_large += int((drawn_RN.mean(axis=1) >= seen).sum())
    return as_large / (RESAMPLES + 1)
