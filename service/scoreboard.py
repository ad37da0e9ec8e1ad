"""What was seen of the two versions of a trial: counts that add up over workers."""

from __future__ import annotations

import bisect
import math
from typing import Literal

import msgspec

Side = Literal["candidate", "incumbent"]

LATENCY_BOUNDS_S = tuple(0.0002 * 1.15**power for power in range(90))  # 0.2 ms to 50 s
MOST_ERRORS_P = 0.001
"""As rare as this by chance, more errors than the incumbent's are the candidate's own. It is looked
at again and again, and must not trip by luck."""
LEAST_ERRORS = 3  # fewer tell nothing
SLOWEST = 1.5  # median latency, as a multiple of the incumbent's
MOST_DRIFT = 0.1  # of mean confidence, which lies in 0..1


class Tally(msgspec.Struct):
    """One version's requests."""

    requests: int = 0
    errors: int = 0
    latency_counts: list[int] = msgspec.field(
        default_factory=lambda: [0] * (len(LATENCY_BOUNDS_S) + 1)
    )

    def add(self, latency_s: float, *, failed: bool) -> None:
        """Count a request; the time of one that failed tells nothing."""
        self.requests += 1
        if failed:
            self.errors += 1
        else:
            self.time(latency_s)

    def time(self, latency_s: float) -> None:
        """Count a time alone."""
        self.latency_counts[bisect.bisect_left(LATENCY_BOUNDS_S, latency_s)] += 1

    def quantile_s(self, share: float) -> float:
        """The latency that `share` of the requests stayed below, to within 15 %; NaN of none."""
        wanted, seen = share * sum(self.latency_counts), 0
        for bound, count in zip((*LATENCY_BOUNDS_S, math.inf), self.latency_counts, strict=True):
            seen += count
            if count and seen >= wanted:
                return bound
        return math.nan


class Scores(msgspec.Struct):
    """Both versions' tallies, and how their answers to the same inputs compare.

    `compared_rows` rows went through both; `agreed_rows` of these had the same answer.
    """

    candidate: Tally = msgspec.field(default_factory=Tally)
    incumbent: Tally = msgspec.field(default_factory=Tally)
    compared_rows: int = 0
    agreed_rows: float = 0.0
    candidate_confidence: float = 0.0
    incumbent_confidence: float = 0.0
    """Sums over the compared rows."""
    failed_comparisons: int = 0

    def join(self, other: Scores) -> None:
        """Add another worker's."""
        for mine, theirs in (
            (self.candidate, other.candidate),
            (self.incumbent, other.incumbent),
        ):
            mine.requests += theirs.requests
            mine.errors += theirs.errors
            counts = zip(mine.latency_counts, theirs.latency_counts, strict=True)
            mine.latency_counts = [a + b for a, b in counts]
        self.compared_rows += other.compared_rows
        self.agreed_rows += other.agreed_rows
        self.candidate_confidence += other.candidate_confidence
        self.incumbent_confidence += other.incumbent_confidence
        self.failed_comparisons += other.failed_comparisons

    def describe(self) -> str:
        """One line for the audit log."""
        mine, theirs = self.candidate, self.incumbent
        text = (
            f"{mine.requests} requests, {mine.errors} errors, median "
            f"{mine.quantile_s(0.5) * 1000:.3g} ms; incumbent {theirs.requests}, {theirs.errors}, "
            f"{theirs.quantile_s(0.5) * 1000:.3g} ms"
        )
        if self.compared_rows:
            text += f"; {self.agreed_rows / self.compared_rows:.1%} of {self.compared_rows} rows "
            text += "answered alike"
        return text


def find_fault(scores: Scores, *, least_requests: int, least_agreement: float) -> str:
    """Why the candidate must not go on; empty if nothing speaks against it (yet).

    Errors are compared by the exact test of two Poisson rates: given all errors, the candidate's
    are binomial with its share of the requests (Przyborowski & Wilenski 1940).
    """
    mine, theirs = scores.candidate, scores.incumbent
    errors, requests = mine.errors + theirs.errors, mine.requests + theirs.requests
    if mine.errors >= LEAST_ERRORS:
        p = _at_least(mine.errors, errors, mine.requests / requests)
        if theirs.requests == 0 or p < MOST_ERRORS_P:
            return f"{mine.errors} errors in {mine.requests} requests (p = {p:.2g})"
    if scores.failed_comparisons >= LEAST_ERRORS:
        return f"it failed on {scores.failed_comparisons} copies of requests"
    if min(mine.requests, theirs.requests) >= least_requests:
        ratio = mine.quantile_s(0.5) / theirs.quantile_s(0.5)
        if ratio > SLOWEST:
            return f"its median latency is {ratio:.2f} times the incumbent's; {SLOWEST} is allowed"
    if scores.compared_rows >= least_requests:
        agreement = scores.agreed_rows / scores.compared_rows
        if agreement < least_agreement:
            return f"it agrees on {agreement:.1%} of rows; {least_agreement:.0%} are demanded"
        drift = (scores.candidate_confidence - scores.incumbent_confidence) / scores.compared_rows
        if abs(drift) > MOST_DRIFT:
            return f"its mean confidence differs by {drift:+.3f}; {MOST_DRIFT} is allowed"
    return ""


def _at_least(count: int, trials: int, share: float) -> float:
    """P(X >= count) of a binomial."""
    if share >= 1:
        return 1.0
    return math.fsum(
        math.comb(trials, k) * share**k * (1 - share) ** (trials - k)
        for k in range(count, trials + 1)
    )
