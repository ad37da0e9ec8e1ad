"""Who is beaten by whom on the plane of accuracy against speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """A model on the plane; of both, more is better."""

    name: str
    rate: float
    """Images per second."""
    accuracy: float

    def beats(self, other: Point) -> bool:
        """Whether it is both faster and more accurate."""
        return self.rate > other.rate and self.accuracy > other.accuracy


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Those that no other is at least as good as in both, the slowest first; of equals one."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.rate, point.accuracy), reverse=True):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front[::-1]
