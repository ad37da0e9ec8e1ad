"""The whole surface: every route that this service answers itself, and what is said of each."""

from __future__ import annotations

from starlette.routing import Route, WebSocketRoute

from service.http import openapi, page, system
from service.http.openapi import Operations
from service.kinds import kinds
from service.oip import operations as oip_operations
from service.oip import routes as oip_routes
from service.runtime import Runtime


def routes(runtime: Runtime) -> list[Route | WebSocketRoute]:
    """Routes of the pages, the service, the protocol and the kinds, but not the document's own."""
    found: list[Route | WebSocketRoute] = [
        *page.routes(),
        *system.routes(runtime),
        *oip_routes.routes(runtime),
    ]
    for kind in kinds().values():
        found += kind.routes(runtime)
    return found


def operations() -> Operations:
    """What the OpenAPI document says of them, and of itself."""
    found = {
        **page.OPERATIONS,
        **system.OPERATIONS,
        **openapi.OPERATIONS,
        **oip_operations.OPERATIONS,
    }
    for kind in kinds().values():
        found |= kind.operations
    return found
