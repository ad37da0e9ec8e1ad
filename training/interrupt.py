"""Ctrl-C at a time that suits."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self


class StopOnInterrupt:
    """Turns the first SIGINT into a flag that is looked at between steps, where a checkpoint is
    whole; the second interrupts at once.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._before: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
