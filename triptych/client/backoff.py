"""When to send a request again: as the server says, or after a random, growing time.

The random time is "full jitter" (Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture
Blog, 2015): uniform from 0 to `base_s * 2 ** attempt`, which is capped.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime


@dataclass(frozen=True)
class Backoff:
    """How long to wait before another attempt where the server does not say.

    Args:
        base_s: the longest wait before the second attempt; it doubles with each.
        cap_s: the longest wait of all.
        uniform: draws from a range; `random.uniform`, unless a test has its own.

    """

    base_s: float = 0.1
    cap_s: float = 5.0
    uniform: Callable[[float, float], float] = random.uniform

    def wait_s(self, attempt: int) -> float:
        """Seconds to wait after attempt number `attempt`, 0 the first."""
        longest_s = self.cap_s
        if attempt < 64:  # beyond, a float overflows, and the cap has long been reached
            longest_s = min(self.cap_s, self.base_s * 2**attempt)
        return self.uniform(0.0, longest_s)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that the Retry-After header asks for (RFC 9110, section 10.2.3); None without one.

    It is a number of seconds or a date. A date is taken relative to the answer's own Date, where
    there is one: the server's clock and this one may differ. One that has passed is 0; a header
    that is neither is as none.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    then_s = _timestamp(text)
    if then_s is None:
        return None
    now_s = _timestamp(headers.get("date", ""))
    return max(0.0, then_s - (time.time() if now_s is None else now_s))


def _timestamp(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
