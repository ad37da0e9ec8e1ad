"""From logits to characters: temperature, top-k and top-p over a whole batch at once.

Every operation is row-wise, and rows are padded to a multiple of 8 columns of no weight: numpy's
vector loops then never reach a scalar tail, whose last bits could differ, so that a row's result
does not depend on how many rows stand beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LANES = 8  # float64 in the widest vector registers


def _padded(vocabulary: int) -> int:
    return -(-vocabulary // _LANES) * _LANES


@dataclass(frozen=True, slots=True)
class SamplingParameters:
    """How one sequence is sampled.

    `temperature` 0 takes the most likely character; `top_k` 0 and `top_p` 1 keep all of them.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


class Sampler:
    """Parameters of the rows of a batch as columns, rebuilt when rows join or leave."""

    def __init__(self, rows: list[SamplingParameters], vocabulary: int) -> None:
        count, columns = len(rows), _padded(vocabulary)
        # Everything a step writes to is made once. The padding is -inf: it never gets any weight.
        self._block_NC = np.zeros((count, columns))
        self._logits_NV = self._block_NC[:, :vocabulary]
        self._padding_NP = self._block_NC[:, vocabulary:]
        self._cumulative_NC = np.zeros((count, columns))
        self._total_N = self._cumulative_NC[:, -1]
        self._exceeds_NC = np.zeros((count, columns), dtype=bool)
        self._top_N1 = np.zeros((count, 1))
        self._target_N1 = np.zeros((count, 1))
        self._target_N = self._target_N1[:, 0]
        self._index_N = np.zeros(count, dtype=np.int64)
        temperature_N = np.array([row.temperature for row in rows])
        self._greedy_N = temperature_N == 0
        self._any_greedy = bool(self._greedy_N.any())
        scale_N = np.where(self._greedy_N, 1.0, temperature_N)
        self._scale_N1 = scale_N[:, None]
        self._scaled = bool((scale_N != 1.0).any())
        top_k = [row.top_k if 0 < row.top_k < vocabulary else vocabulary for row in rows]
        self._top_k_N1 = np.array(top_k)[:, None]
        self._top_p_N1 = np.array([row.top_p for row in rows])[:, None]
        self._truncated = any(k < vocabulary for k in top_k) or bool((self._top_p_N1 < 1).any())

    def choose(self, logits_NV: NDArray[np.float32], uniform_N: NDArray[np.float64]) -> list[int]:
        """As `draw`, as plain numbers."""
        chosen: list[int] = self.draw(logits_NV, uniform_N).tolist()
        return chosen

    def draw(
        self, logits_NV: NDArray[np.float32], uniform_N: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Draw one index per row by inverting the cumulative distribution at `uniform`.

        Args:
            logits_NV: float32 [N, V].
            uniform_N: float64 [N] in [0, 1).

        Returns:
            int64 [N], valid until the next call.

        """
        block_NC = self._block_NC
        self._logits_NV[:] = logits_NV
        self._padding_NP[:] = -np.inf
        # The top comes to 0 first: a temperature near 0 then sends the others to -inf, none to NaN.
        np.maximum.reduce(block_NC, axis=1, keepdims=True, out=self._top_N1)
        np.subtract(block_NC, self._top_N1, out=block_NC)
        if self._scaled:
            with np.errstate(over="ignore"):
                np.divide(block_NC, self._scale_N1, out=block_NC)
        np.exp(block_NC, out=block_NC)
        if self._truncated:
            self._truncate(block_NC)
        np.add.accumulate(block_NC, axis=1, out=self._cumulative_NC)
        np.multiply(uniform_N, self._total_N, out=self._target_N)
        # The first index whose cumulative weight exceeds the target; its weight is above zero.
        np.greater(self._cumulative_NC, self._target_N1, out=self._exceeds_NC)
        index_N = self._exceeds_NC.argmax(axis=1, out=self._index_N)
        if self._any_greedy:
            np.copyto(index_N, logits_NV.argmax(axis=1), where=self._greedy_N)
        return index_N

    def _truncate(self, weight_NV: NDArray[np.float64]) -> None:
        """Zero what lies outside the top k, or outside the smallest set with probability top_p."""
        order_NV = np.argsort(-weight_NV, axis=1, kind="stable")
        sorted_NV = np.take_along_axis(weight_NV, order_NV, axis=1)
        rank_V = np.arange(weight_NV.shape[1])
        before_NV = np.cumsum(sorted_NV, axis=1) - sorted_NV
        total_N1 = sorted_NV.sum(axis=1, keepdims=True)
        # Rows that ask for no nucleus must not lose their tail to the rounding of the sums.
        nucleus_NV = (before_NV < self._top_p_N1 * total_N1) | (self._top_p_N1 >= 1)
        keep_NV = (rank_V < self._top_k_N1) & nucleus_NV
        keep_NV[:, 0] = True
        np.put_along_axis(weight_NV, order_NV, np.where(keep_NV, sorted_NV, 0.0), axis=1)


def log_softmax(logits_NV: NDArray[np.float32]) -> NDArray[np.float64]:
    """Natural log of the softmax over the last axis, float64 [N, V]."""
    rows, vocabulary = logits_NV.shape
    block_NC = np.full((rows, _padded(vocabulary)), -np.inf)
    block_NC[:, :vocabulary] = logits_NV
    block_NC -= block_NC.max(axis=1, keepdims=True)
    normaliser_N1 = np.log(np.exp(block_NC).sum(axis=1, keepdims=True))
    result: NDArray[np.float64] = (block_NC - normaliser_N1)[:, :vocabulary]
    return result
