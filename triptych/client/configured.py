"""What both clients are made with."""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod

from triptych.client.backoff import Backoff
from triptych.client.exchange import Options


class Configured(ABC):
    """A client before it has connections; arguments are told of at `Client`."""

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        max_retries: int = 4,
        backoff: Backoff | None = None,
        max_connections: int = 16,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self._options = Options.of(
            base_url, api_key, timeout_s, max_retries, backoff, max_connections
        )
        self._connect(verify)

    @abstractmethod
    def _connect(self, verify: ssl.SSLContext | bool) -> None:
        """Make the pool of connections."""
