"""Ports for the servers that tests start; test processes that run side by side never share one."""

from __future__ import annotations

import itertools
import os
import socket

_FIRST = 20_000
"""Below the range from which Linux takes ports for outgoing connections."""
_EACH = 1_000

_process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_own = range(_FIRST + _process % 10 * _EACH, _FIRST + (_process % 10 + 1) * _EACH)
# Not from the first: another run on this machine may be at it.
_candidates = itertools.islice(itertools.cycle(_own), os.getpid() % _EACH, None)


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on, and that no other test process will be given."""
    for port in itertools.islice(_candidates, _EACH):
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"no port from {_own.start} to {_own.stop} is free")
