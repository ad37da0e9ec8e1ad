"""A port of its own for what reveals or changes how the service is run, and for probes.

Every worker listens on it (SO_REUSEPORT; the kernel picks one). That is no loss: /metrics adds all
workers up, and a load or unload reaches all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from service.errors import SettingsError
from service.settings import Settings


class _Quiet(uvicorn.Server):
    """A server that leaves the process' signals to the one that serves the public."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None of them."""
        yield


class AdminServer:
    """Serves `app` on the admin port from `start` to `stop`."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._settings = settings
        secret: dict[str, str] = {}
        if settings.tls_cert:
            secret = {"ssl_certfile": settings.tls_cert, "ssl_keyfile": settings.tls_key}
        self._server = _Quiet(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=1,
                **secret,  # type: ignore[arg-type]
            )
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen; raises SettingsError if the port cannot be had."""
        listener = listen(self._settings.admin_host, self._settings.admin_port)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))

    async def stop(self) -> None:
        """Listen no more."""
        if self._task is not None:
            self._server.should_exit = True
            await self._task


def listen(host: str, port: int) -> socket.socket:
    """A listening socket that other workers can have as well; raises SettingsError."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM
        )[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.listen(128)
    except (OSError, OverflowError) as error:
        raise SettingsError(
            f"TRIPTYCH_ADMIN_PORT={port}: {host} cannot listen on it: {error}",
            field="TRIPTYCH_ADMIN_PORT",
        ) from error
    return listener


def check_tls(settings: Settings) -> None:
    """Raise SettingsError unless certificate and key, if they are set, belong together."""
    if not settings.tls_cert and not settings.tls_key:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            settings.tls_cert, settings.tls_key or None
        )
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"TRIPTYCH_TLS_CERT={settings.tls_cert!r}, TRIPTYCH_TLS_KEY={settings.tls_key!r}: "
            f"{error}",
            field="TRIPTYCH_TLS_CERT",
        ) from error
