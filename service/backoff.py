"""Trying again, less and less often."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

FIRST_S, LONGEST_S = 1.0, 60.0


async def until_done(work: Callable[[], Awaitable[bool]]) -> None:
    """Wait, do `work`, and so on until it says that it is done. Waits double, and differ by half
    either way: those who lost the same thing must not all come back for it together.
    """
    wait_s = FIRST_S
    while True:
        await asyncio.sleep(wait_s * random.uniform(0.5, 1.5))
        if await work():
            return
        wait_s = min(2 * wait_s, LONGEST_S)
