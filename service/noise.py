"""Random numbers that depend on the seed and the row alone.

Philox4x64 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") is counter-based:
its key is (seed, row), its counter the position. So the same request draws the same numbers
whatever else is in its batch, and on every worker and replica.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import NDArray

MAX_SEED = 2**63 - 1


class _Key(ISeedSequence):
    """(seed, row) as the key itself. `Philox(key=...)` does the same, but asks the system for a
    seed of its own before it, which gives the interpreter lock away.
    """

    def __init__(self, seed: int, row: int) -> None:
        self._words = [seed, row]

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> NDArray[Any]:
        """The two words that Philox asks for."""
        assert n_words == len(self._words)
        return np.array(self._words, dtype=dtype)


def _generator(seed: int, row: int) -> np.random.Generator:
    # NumPy takes any ISeedSequence; its types name one of them.
    return np.random.Generator(np.random.Philox(_Key(seed, row)))  # type: ignore[arg-type]


def normal(seed: int, first_row: int, rows: int, width: int) -> NDArray[np.float32]:
    """Standard normal float32 [rows, width]; row i depends on (seed, first_row + i) alone."""
    noise_NZ = np.empty((rows, width), dtype=np.float32)
    generator = _generator(seed, first_row)
    # The state of a fresh generator; with another key it is that of another row.
    state = generator.bit_generator.state
    for index in range(rows):
        state["state"]["key"][1] = first_row + index
        generator.bit_generator.state = state
        generator.standard_normal(out=noise_NZ[index], dtype=np.float32)
    return noise_NZ


def arc(start_Z: NDArray[np.float32], end_Z: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """`n` >= 2 points from one noise to another, both included: float32 [n, Z].

    Spherical linear interpolation (Shoemake 1985, "Animating rotation with quaternion curves"):
    between two normals the straight line would pass too near the origin, where no noise lies.
    """
    start, end = start_Z.astype(np.float64), end_Z.astype(np.float64)

    def product(a_Z: NDArray[np.float64], b_Z: NDArray[np.float64]) -> float:
        return math.fsum((a_Z * b_Z).tolist())  # exact: the same on every processor

    lengths = math.sqrt(product(start, start) * product(end, end))
    angle = math.acos(max(-1.0, min(1.0, product(start, end) / lengths))) if lengths else 0.0
    points_NZ = np.empty((n, len(start)), dtype=np.float32)
    for index in range(n):
        share = index / (n - 1)
        if math.sin(angle) < 1e-6:  # the same direction, or the opposite one: no arc is marked out
            weights = 1 - share, share
        else:
            weights = (
                math.sin((1 - share) * angle) / math.sin(angle),
                math.sin(share * angle) / math.sin(angle),
            )
        points_NZ[index] = weights[0] * start + weights[1] * end
    points_NZ[0], points_NZ[-1] = start_Z, end_Z
    return points_NZ


class Uniforms:
    """The endless sequence of uniforms in [0, 1) of (seed, row), float64."""

    def __init__(self, seed: int, row: int) -> None:
        self._generator = _generator(seed, row)

    def take(self, count: int) -> NDArray[np.float64]:
        """The next `count`: the same ones however they are asked for."""
        return self._generator.random(count)
