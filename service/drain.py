"""The end of a worker: readiness goes first, then the port, then what is still under way.

A balancer learns from a probe that a server leaves, and until its next probe it sends requests.
So, on SIGTERM:

1. `leaving`: /readyz and its like answer 503, and everything is served as before, for `delay_s`.
2. `closing`: the port is closed, WebSockets are told (code 1012), requests and streams go on.
3. `over`, `timeout_s` later: what still runs is cancelled, and says so to its client: 503, or an
   error event at the end of a stream. Then the worker goes.

SIGINT, and a second SIGTERM, begin with the second step. uvicorn alone would begin there, and wait
without end or cut streams off without a word.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from typing import Literal

import uvicorn

from service.errors import NotReadyError

log = logging.getLogger("triptych.drain")
State = Literal["serving", "leaving", "closing", "over"]
_LAST_WORDS_S = 2.0
"""After `over`, until uvicorn cancels what has not ended; nothing should be left by then."""


class Drain:
    """How far this worker has gone. One a process: a signal is for all of it."""

    def __init__(self) -> None:
        self.state: State = "serving"

    @property
    def leaving(self) -> bool:
        """Whether no new requests should be sent here."""
        return self.state != "serving"

    def refusal(self) -> NotReadyError | None:
        """What to tell the client of a request that was cancelled; None if it was not by this."""
        return NotReadyError("the server is stopping") if self.state == "over" else None

    def follow_signals(
        self, *, delay_s: float, timeout_s: float, on_close: Callable[[], None]
    ) -> None:
        """Take SIGTERM and SIGINT over from the uvicorn that runs this loop, if one does.

        Args:
            delay_s: how long to serve on while readiness says no; 0: not at all.
            timeout_s: how long requests and streams may take to end once the port is closed.
            on_close: called when the port is closed, to close others.

        """
        server = running_server()
        if server is None:
            return
        loop = asyncio.get_running_loop()
        server.config.timeout_graceful_shutdown = int(timeout_s + _LAST_WORDS_S + 1)

        def close(sig: int) -> None:
            """Once; later signals are uvicorn's alone, to force the end."""
            if self.state in ("serving", "leaving"):
                self.state = "closing"
                log.info("closing: %g s for what is under way", timeout_s)
                on_close()
                loop.call_later(timeout_s, end)
            server.handle_exit(sig, None)

        def end() -> None:
            self.state = "over"
            running = list(server.server_state.tasks)
            if running:
                log.warning("over: %d requests had not ended", len(running))
            for task in running:
                task.cancel()

        def hear(sig: int) -> None:
            if sig == signal.SIGTERM and self.state == "serving" and delay_s > 0:
                self.state = "leaving"
                log.info("leaving: not ready any more, serving on for %g s", delay_s)
                loop.call_later(delay_s, close, sig)
            else:
                close(sig)

        for sig in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sig, hear, sig)


DRAIN = Drain()


def running_server() -> uvicorn.Server | None:
    """The uvicorn server that runs this process; None if there is none.

    BentoML makes it and hands it to nobody. But it has taken over SIGTERM before it starts the
    application, with a method of its own.
    """
    owner = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return owner if isinstance(owner, uvicorn.Server) else None
