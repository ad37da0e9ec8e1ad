"""`service.app:Triptych`, the BentoML service: the only module that imports bentoml.

`bentoml serve service.app:Triptych` starts it. Endpoints and routes come from the kinds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

import bentoml
from bentoml._internal.server.http.traffic import TimeoutMiddleware
from starlette.applications import Starlette
from starlette.types import ASGIApp

from service.errors import SettingsError, TriptychError
from service.http import openapi, surface
from service.http.fence import fenced
from service.http.observed import Identified, Observed
from service.kinds import kinds
from service.runtime import Runtime, preflight
from service.settings import Settings
from service.telemetry.logs import configure

T = TypeVar("T")


def _settings() -> Settings:
    try:
        return Settings.from_environment()
    except SettingsError as error:
        # One line, no traceback: it is the operator who must read it.
        sys.exit(f"triptych: {error}")


class _Worker:
    """What BentoML instantiates once per worker process."""

    runtime: ClassVar[Runtime]

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def check() -> None:
        """Once, before the workers start: stop here if they could not work."""
        try:
            preflight(_settings())
        except TriptychError as error:
            sys.exit(f"triptych: {error}")

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def start(self) -> None:
        """Load the models; where that takes long, the worker answers probes meanwhile."""
        await self.runtime.start()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def stop(self) -> None:
        """Close the models; no request is left by now."""
        await self.runtime.close()


class _Service(bentoml.Service, Generic[T]):  # type: ignore[misc]
    """A BentoML service whose application has our routes in front."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """Make a worker's application."""
        settings = _settings()
        try:
            runtime = Runtime(settings)
        except SettingsError as error:
            sys.exit(f"triptych: {error}")
        _Worker.runtime = runtime
        endpoints = {f"/{name}": method.input_spec for name, method in self.apis.items()}
        for method in self.apis.values():
            # Else BentoML derives a JSON schema for each answer to learn its media type.
            method.output_spec.media_type = method.output_spec.mime_type()

        def document() -> dict[str, Any]:
            return openapi.document(
                surface.operations(), self.openapi_spec.asdict(), list(endpoints)
            )

        ours = [*surface.routes(runtime), *openapi.routes(document)]
        app = fenced(ours, _without_timers(super().to_asgi(is_main=is_main)), endpoints, runtime)
        # Outermost, so that what is refused on the way in has an id and a line in the log too.
        if runtime.observer is None:
            return Identified(app)
        return Observed(app, runtime.observer, ours, tuple(endpoints))


def _without_timers(behind: ASGIApp) -> ASGIApp:
    """BentoML's application without its time limit: requests have deadlines of ours.

    Its timer is not cancelled when the request has ended, and keeps all of it, 7 KiB, until then.
    """
    assert isinstance(behind, Starlette)
    layers = behind.user_middleware
    # Its types say that a layer is made by a function; it is made by its class.
    kept = [one for one in layers if one.cls is not TimeoutMiddleware]  # type: ignore[comparison-overlap]
    assert len(kept) < len(layers)
    behind.user_middleware = kept
    return behind


def _with_endpoints(worker: type[_Worker]) -> type[_Worker]:
    """Add each kind's endpoint to the class that BentoML reads."""
    functions: list[Callable[..., Any]] = [kind.endpoint() for kind in kinds().values()]
    return type(
        "Triptych", (worker,), {function.__name__: bentoml.api(function) for function in functions}
    )


# Now, when BentoML has set up its own, and before anything is written.
configure(_settings().log_format)

Triptych: Any = bentoml.service(
    _with_endpoints(_Worker),
    name="triptych",
    description="A CNN, an LSTM and a conditional GAN behind batched endpoints.",
    service_class=_Service,
    workers=_settings().workers,
    # Ours replace them, with bounded labels; theirs would double every request's cost.
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    traffic={"timeout": 600},
)
