"""Before the routes: keys, other sites' pages, an admin port. What is off is not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import UnknownNameError
from service.http.access import OPEN, Access, is_admin
from service.http.admin import AdminServer
from service.http.answers import error_answer
from service.http.front import Front
from service.http.origins import shared_with
from service.oip.answers import oip_answer
from service.runtime import Runtime

Routes = Sequence[Route | WebSocketRoute]


def fenced(
    routes: Routes, behind: ASGIApp, endpoints: Mapping[str, type[BaseModel]], runtime: Runtime
) -> ASGIApp:
    """The application as the settings fence it; opens the runtime's admin port if there is one.

    Args:
        routes: all of ours.
        behind, endpoints: as of `Front`.
        runtime: its settings and keys.

    """
    settings = runtime.settings
    if settings.admin_port:
        private = [route for route in routes if is_admin(route.path) or route.path in OPEN - {"/"}]
        runtime.admin = AdminServer(Front(private, _nothing, {}, settings), settings)
        routes = [_elsewhere(route) if is_admin(route.path) else route for route in routes]
    app: ASGIApp = Front(routes, behind, endpoints, settings)
    if runtime.keys is not None:
        app = Access(app, runtime.keys)
    if runtime.origins:
        # Outermost: what a browser asks beforehand comes without a key.
        app = shared_with(app, runtime.origins)
    return app


def _elsewhere(route: Route | WebSocketRoute) -> Route:
    """A route of the same path that says no more than that it is not here."""
    answer = oip_answer if route.path.startswith("/v2") else error_answer

    async def refuse(_: Request) -> Response:
        return answer(UnknownNameError("this route is on the admin port"))

    return Route(route.path, refuse, methods=["GET", "POST"])


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    error = UnknownNameError(f"the admin port has no route {scope['path']}")
    await error_answer(error)(scope, receive, send)
