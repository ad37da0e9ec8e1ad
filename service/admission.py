"""Who may wait: a queue bounded by rows, and by how long those ahead will take.

A bound of rows alone is no bound of time: 1,024 rows of a graph that does 20 a second wait for
longer than any client. How fast a queue empties is not known beforehand, for models, decoders and
the event loop share cores; it is seen. Between two runs that end while others wait, the time that
passed is what the rows of the second took, whatever it was spent on and on however many lanes.
Sums of both, in which the past fades, give seconds per row.
"""

from __future__ import annotations

from service.errors import OverloadedError, TooLargeError

_KEPT = 0.9
"""Share of what was seen that still counts after another run: about ten runs are remembered."""

_CAUTION = 1.05
"""What is expected, more than the pace says: it changes meanwhile, and a limit is a promise."""


class Admission:
    """The bounds of one queue, and its pace.

    Args:
        max_rows: most rows waiting.
        max_wait_s: longest estimated wait for the rows ahead; 0: no such bound.
        noun: what the rows are called in errors.
        kept: share of the pace that is left after each run.

    """

    __slots__ = ("_busy", "_kept", "_last_s", "_max_rows", "_max_wait_s", "_noun", "_rows",
                 "_seconds", "row_s")  # fmt: skip

    def __init__(
        self, max_rows: int, max_wait_s: float = 0.0, *, noun: str = "rows", kept: float = _KEPT
    ) -> None:
        self._max_rows = max_rows
        self._max_wait_s = max_wait_s
        self._noun = noun
        self._kept = kept
        self._seconds = self._rows = 0.0
        self._last_s = 0.0
        self._busy = False
        self.row_s = 0.0
        """Seconds from one row to the next while rows wait; 0: not known yet."""

    def check(self, rows: int, ahead: int, *, running: int = 0) -> None:
        """Raise unless `rows` more may wait behind the `ahead` that do, and those in runs.

        Who finds nobody waiting is let in however long the runs take: else a limit shorter than a
        run would leave the lane idle after each.

        Raises:
            TooLargeError: more than the queue could ever hold.
            OverloadedError: no room now, or the wait would be too long.

        """
        self.check_room(rows, ahead)
        if ahead == 0:
            self._busy = False  # what passed since rows were last answered is nobody's time
            return
        wait_s = _CAUTION * (ahead + running) * self.row_s
        if 0 < self._max_wait_s < wait_s:
            raise OverloadedError(
                f"{ahead + running} {self._noun} are ahead, which will take about {wait_s:.2f} s; "
                f"the limit is {self._max_wait_s:g} s",
                retry_after_s=wait_s - self._max_wait_s,
            )

    def check_room(self, rows: int, ahead: int) -> None:
        """As `check`, by rows alone: for those whose wait was looked at before their decoding."""
        if rows > self._max_rows:
            raise TooLargeError(f"{rows} {self._noun} in a request; the limit is {self._max_rows}")
        if ahead + rows > self._max_rows:
            raise OverloadedError(
                f"{ahead} {self._noun} are waiting; the limit is {self._max_rows}",
                retry_after_s=ahead * self.row_s or 1.0,
            )

    def left(self, rows: int, now_s: float, waiting: int, *, run_s: float = 0.0) -> None:
        """Tell of rows that were answered.

        Args:
            rows: how many.
            now_s: on a clock that goes on.
            waiting: rows that wait now.
            run_s: what their run took, 0 if that is not known. With nobody waiting it bounds the
                pace from above: in a fuller batch a row takes no longer.

        """
        if self._busy:
            self._seconds = self._seconds * self._kept + (now_s - self._last_s)
            self._rows = self._rows * self._kept + rows
            self.row_s = self._seconds / self._rows
        elif run_s and (self.row_s == 0.0 or run_s < self.row_s * rows):
            self._seconds, self._rows = run_s, float(rows)
            self.row_s = run_s / rows
        self._last_s = now_s
        self._busy = waiting > 0
