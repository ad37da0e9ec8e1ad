"""How much of its rate and its day's quota each key has used, exact over a server's workers.

Workers share a file of one record a key. A request locks it, reads its record, and writes it back:
four calls of the kernel, a few microseconds, on a machine's own disk or in memory. Replicas share
nothing: each has limits of its own.

The rate is held by the generic cell rate algorithm (ITU-T I.371, appendix I; "virtual scheduling"),
a token bucket that needs one number a key: when it would be full again.
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.errors import QuotaExceededError, RateLimitedError

_RECORD = struct.Struct("<16sqqq")
"""The id's digest; when it is full again, in ns; the day; requests of the day."""
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Limits:
    """What a key may use.

    Attributes:
        interval_ns: time between requests at the full rate; 0: no limit.
        tolerance_ns: how far ahead of that pace a burst may run.
        per_s: the rate, for messages.
        per_day: requests in a day of UTC; None: no limit.

    """

    interval_ns: int
    tolerance_ns: int
    per_s: float
    per_day: int | None

    @classmethod
    def of(cls, per_s: float | None, burst: int | None, per_day: int | None) -> Limits:
        """From requests a second, requests at once (a second's unless given), requests a day."""
        if per_s is None:
            return cls(0, 0, 0.0, per_day)
        interval_ns = round(1e9 / per_s)
        at_once = math.ceil(per_s) if burst is None else burst
        return cls(interval_ns, (at_once - 1) * interval_ns, per_s, per_day)


class Allowances:
    """What was used, by key, in a file that the workers share. Used from one thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._places: dict[str, int] = {}

    def take(self, key_id: str, limits: Limits) -> None:
        """Count a request, or refuse it uncounted.

        Raises:
            QuotaExceededError: the day's requests are used up.
            RateLimitedError: faster than the rate and its burst allow.

        """
        now_s = time.time()
        day = int(now_s // _DAY_S)
        with self._locked():
            place = self._place(key_id)
            name, full_ns, of_day, used = _RECORD.unpack(os.pread(self._file, _RECORD.size, place))
            if of_day != day:
                used = 0
            if limits.per_day is not None and used >= limits.per_day:
                raise QuotaExceededError(
                    f"the key's {limits.per_day} requests of this day (UTC) are used up",
                    retry_after_s=(day + 1) * _DAY_S - now_s,
                )
            full_ns = self._spend(full_ns, limits)
            os.pwrite(self._file, _RECORD.pack(name, full_ns, day, used + 1), place)

    @staticmethod
    def _spend(full_ns: int, limits: Limits) -> int:
        """When the bucket is full again after one more; raises RateLimitedError."""
        if not limits.interval_ns:
            return full_ns
        now_ns = time.monotonic_ns()  # one clock for all processes of a machine
        longest_ns = limits.tolerance_ns + limits.interval_ns
        # Further ahead than it could be: the machine has started anew, or the limits have changed.
        if not now_ns < full_ns <= now_ns + longest_ns:
            full_ns = now_ns
        early_ns = full_ns - now_ns - limits.tolerance_ns
        if early_ns > 0:
            raise RateLimitedError(
                f"the key is limited to {limits.per_s:g} requests a second",
                retry_after_s=early_ns / 1e9,
            )
        return full_ns + limits.interval_ns

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _place(self, key_id: str) -> int:
        """Where the key's record is; it is added if there is none. The file is locked."""
        place = self._places.get(key_id)
        if place is None:
            name = hashlib.sha256(key_id.encode()).digest()[:16]
            end = os.fstat(self._file).st_size // _RECORD.size * _RECORD.size
            records = os.pread(self._file, end, 0)
            found = range(0, end, _RECORD.size)
            place = next((at for at in found if records[at : at + 16] == name), end)
            if place == end:
                os.pwrite(self._file, _RECORD.pack(name, 0, 0, 0), end)
            self._places[key_id] = place
        return place
