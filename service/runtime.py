"""What a worker is made of: settings, lanes, registry; and its life from start to drain."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from service import memory, metrics
from service.allowance import Allowances
from service.drain import DRAIN
from service.errors import SettingsError
from service.feedback import check_feedback, open_feedback
from service.http.admin import AdminServer, check_tls, listen
from service.http.connection import limit_connections
from service.http.origins import origins
from service.keys import Keys, permit_model
from service.lanes import Lanes, yield_to_loop
from service.oip.repository import Control, shared_folder
from service.registry import Registry
from service.session import Arena, Session, check_provider
from service.settings import Settings
from service.store import Store, open_home
from service.store.signature import Verifier
from service.telemetry.observer import check_telemetry, open_observer

if TYPE_CHECKING:
    from service.oip.grpc_server import GrpcServer


_SWITCH_S = 0.001
"""Python lets a thread that comes back from onnxruntime wait for 5 ms while the event loop has the
interpreter lock: as long as a batch takes."""

LOADING_UNSEEN_S = 10.0
"""A worker that has nothing to answer by yet, and is there because another died, would refuse what
its neighbours could answer: it takes no connection before its models are loaded. After so long it
does, to say what it waits for."""


def open_store(settings: Settings) -> Store:
    """The store as the settings say; raises SettingsError for a location or key that is none."""
    home = open_home(
        settings.store,
        cache_dir=Path(settings.store_cache) if settings.store_cache else None,
        poll_s=settings.store_poll_s,
    )
    verifier = Verifier(Path(settings.public_key)) if settings.public_key else None
    return Store(home, verifier=verifier)


def preflight(settings: Settings) -> None:
    """Find out, before any worker starts, whether the provider works on this machine.

    A CUDA build of onnxruntime lists its provider even where the driver is missing; loading a
    graph tells. Likewise gRPC's packages and its port. Raises SettingsError.
    """
    check_provider(settings.provider)
    open_store(settings)
    check_feedback(settings)
    check_tls(settings)
    check_telemetry(settings)
    origins(settings.cors_origins)
    with tempfile.TemporaryDirectory() as folder:
        open_keys(settings, Path(folder))
    if settings.admin_port:
        listen(settings.admin_host, settings.admin_port).close()
    if settings.grpc_port:
        check_grpc(settings.grpc_host, settings.grpc_port)
    if settings.provider == "cuda":
        store = open_store(settings)
        for name in store.names()[:1]:
            version = store.current(name)
            manifest = store.verified(name, version)
            graph = manifest.serving("float32").graph
            Session(store.folder(name, version) / graph, provider="cuda")


def open_keys(settings: Settings, folder: Path) -> Keys | None:
    """The keys that are asked for, if any; what is used of them is kept in `folder` unless the
    settings say where. Raises SettingsError for a file that is none.
    """
    if not settings.keys_file:
        return None
    usage = settings.keys_usage
    path = Path(usage) if usage else folder / "usage"
    try:
        allowances = Allowances(path)
    except OSError as error:
        raise SettingsError(f"TRIPTYCH_KEYS_USAGE={usage!r}: {error}") from error
    return Keys(Path(settings.keys_file), allowances)


def check_grpc(host: str, port: int) -> None:
    """Raise SettingsError unless gRPC is installed and the port is free."""
    try:
        import_module("service.oip.grpc_server")
    except ImportError as error:
        raise SettingsError(
            f"TRIPTYCH_GRPC_PORT needs the grpc extra (pip install 'triptych[grpc]'): {error}",
            field="TRIPTYCH_GRPC_PORT",
        ) from error
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind) as listener:
            # As servers do: connections that linger from the last one are no hindrance.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except (OSError, OverflowError) as error:
        raise SettingsError(
            f"TRIPTYCH_GRPC_PORT={port}: {host} cannot listen on it: {error}",
            field="TRIPTYCH_GRPC_PORT",
        ) from error


class Runtime:
    """One worker's parts. `registry.ready` turns true when all is loaded, which `start` waits for,
    but not for long.

    Raises:
        SettingsError: the provider cannot be had.

    """

    def __init__(self, settings: Settings) -> None:
        check_provider(settings.provider)
        memory.bound_arenas()
        sys.setswitchinterval(_SWITCH_S)
        Arena.share(settings.arena_mib * 2**20)
        self.settings = settings
        self.lanes = Lanes(settings.lanes)
        self.store = open_store(settings)
        self.registry = Registry(settings, self.store, self.lanes)
        self.keys = open_keys(settings, shared_folder("keys")) if settings.keys_file else None
        """Who may ask; None where anybody may."""
        if self.keys is not None:
            self.registry.permit = permit_model
        self.origins = origins(settings.cors_origins)
        """Sites whose pages may use the service, besides its own."""
        self.admin: AdminServer | None = None
        """The admin port, if there is one."""
        self.control = (
            Control(self.registry, self.store, shared_folder()) if settings.model_control else None
        )
        """Loads and unloads models on every worker; None where clients may not."""
        self.decoders = ThreadPoolExecutor(
            settings.lanes, thread_name_prefix="decode", initializer=yield_to_loop
        )
        """Where large images are decoded, off the event loop."""
        self.feedback = open_feedback(settings)
        self.observer = open_observer(settings)
        """Logs and traces requests; None where neither is on."""
        self._grpc: GrpcServer | None = None
        self._grpc_ends: asyncio.Task[None] | None = None
        self._life: asyncio.Task[None] | None = None
        self._opened = asyncio.Event()
        """Set when the models that can be loaded are."""

    @property
    def ready(self) -> bool:
        """Whether requests should be sent here: every model is served, and this is not the end."""
        return self.registry.ready and not DRAIN.leaving

    async def start(self) -> None:
        """Load the models, and begin to follow the store and the signals that end the process.

        Loading goes on behind it where it takes longer than 10 s.
        """
        limit_connections(self.settings)  # first: signals lead to the server
        DRAIN.follow_signals(
            delay_s=self.settings.drain_delay_s,
            timeout_s=self.settings.drain_timeout_s,
            on_close=self._close_ports,
        )
        metrics.forget_dead_workers()
        metrics.LANES.set(self.lanes.count)
        self._life = asyncio.create_task(self._live())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOADING_UNSEEN_S):
                await self._opened.wait()
        if self.settings.grpc_port:
            # Here, not above: its packages are needed only where it is on.
            from service.oip.grpc_server import GrpcServer  # noqa: PLC0415

            self._grpc = GrpcServer(self)
            await self._grpc.start()
        if self.admin is not None:
            await self.admin.start()

    async def _live(self) -> None:
        # Watch first: a version published while the models load must not go unnoticed.
        watching = self.settings.watch and self.store.home.watchable
        async with asyncio.TaskGroup() as group:
            if self.keys is not None:
                group.create_task(self.keys.follow())
            if self.control is not None:
                group.create_task(self.control.follow())
                self.control.recall()
            if watching:
                group.create_task(self.registry.follow())
            group.create_task(self._open())

    async def _open(self) -> None:
        try:
            await self.registry.open()
        finally:
            self._opened.set()
        memory.settle()

    def _close_ports(self) -> None:
        """Take no more gRPC calls; those under way get as long to end as requests over HTTP."""
        if self._grpc is not None and self._grpc_ends is None:
            ended = self._grpc.stop(self.settings.drain_timeout_s)
            self._grpc_ends = asyncio.ensure_future(ended)

    async def close(self) -> None:
        """Let gRPC calls end, stop following, close every model, stop the threads."""
        self._close_ports()
        if self.admin is not None:
            await self.admin.stop()
        if self._grpc_ends is not None:
            await self._grpc_ends
        if self._life is not None:
            self._life.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._life
        await self.registry.close()
        self.lanes.close()
        self.decoders.shutdown()
        await asyncio.to_thread(self.feedback.close)
        if self.observer is not None:
            await asyncio.to_thread(self.observer.close)
