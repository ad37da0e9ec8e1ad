"""From logits to characters: temperature, top-k and top-p over a whole batch at once.

Every operation is row-wise, and the working block is padded to a multiple of 8 rows: numpy's
vector loops then never reach a scalar tail, whose last bits could differ, so that a row's
result does not depend on how many rows stand beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_PAD_ROWS = 8


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
        self._rows = len(rows)
        padded = -(-len(rows) // _PAD_ROWS) * _PAD_ROWS
        # Everything a step writes to is made once.
        self._block_NV = np.zeros((padded, vocabulary))
        self._cumulative_NV = np.zeros((padded, vocabulary))
        self._exceeds_NV = np.zeros((padded, vocabulary), dtype=bool)
        self._top_N1 = np.zeros((padded, 1))
        self._target_N1 = np.zeros((padded, 1))
        self._index_N = np.zeros(padded, dtype=np.int64)
        filled = rows + [SamplingParameters()] * (padded - len(rows))
        temperature_N = np.array([row.temperature for row in filled])
        self._greedy_N = temperature_N == 0
        self._any_greedy = bool(self._greedy_N.any())
        scale_N = np.where(self._greedy_N, 1.0, temperature_N)
        self._scale_N1 = scale_N[:, None]
        self._scaled = bool((scale_N != 1.0).any())
        top_k = [row.top_k if 0 < row.top_k < vocabulary else vocabulary for row in filled]
        self._top_k_N1 = np.array(top_k)[:, None]
        self._top_p_N1 = np.array([row.top_p for row in filled])[:, None]
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
        block_NV, cumulative_NV = self._block_NV, self._cumulative_NV
        block_NV[: self._rows] = logits_NV
        # The top comes to 0 first: a temperature near 0 then sends the others to -inf, none to NaN.
        np.maximum.reduce(block_NV, axis=1, keepdims=True, out=self._top_N1)
        np.subtract(block_NV, self._top_N1, out=block_NV)
        if self._scaled:
            with np.errstate(over="ignore"):
                np.divide(block_NV, self._scale_N1, out=block_NV)
        np.exp(block_NV, out=block_NV)
        if self._truncated:
            self._truncate(block_NV)
        np.add.accumulate(block_NV, axis=1, out=cumulative_NV)
        np.multiply(
            uniform_N, cumulative_NV[: self._rows, -1], out=self._target_N1[: self._rows, 0]
        )
        # The first index whose cumulative weight exceeds the target; its weight is above zero.
        np.greater(cumulative_NV, self._target_N1, out=self._exceeds_NV)
        index_N = self._exceeds_NV.argmax(axis=1, out=self._index_N)[: self._rows]
        if self._any_greedy:
            greedy_N = self._greedy_N[: self._rows]
            np.copyto(index_N, logits_NV.argmax(axis=1), where=greedy_N)
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
    rows = len(logits_NV)
    padded = np.zeros((-(-rows // _PAD_ROWS) * _PAD_ROWS, logits_NV.shape[1]))
    padded[:rows] = logits_NV
    shifted_NV = padded - padded.max(axis=1, keepdims=True)
    normaliser_N1 = np.log(np.exp(shifted_NV).sum(axis=1, keepdims=True))
    result: NDArray[np.float64] = (shifted_NV - normaliser_N1)[:rows]
    return result
