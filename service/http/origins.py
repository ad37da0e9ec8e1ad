"""Pages of other sites: which may use the service from a visitor's browser.

None, unless `TRIPTYCH_CORS_ORIGINS` lists their origins. What a browser asks beforehand is
answered by Starlette; what it does not ask about, WebSockets and requests that change something,
is checked here by the Origin that it names.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp

from service.errors import DisabledError, SettingsError

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")
_REMEMBER_S = 600


def origins(listed: str) -> frozenset[str]:
    """The origins of a list with commas.

    Raises SettingsError for one that is not `scheme://host` or `scheme://host:port`, in lower case:
    `*` and patterns are no origins.
    """
    found = [one.strip() for one in listed.split(",") if one.strip()]
    for one in found:
        if not _ORIGIN.fullmatch(one):
            raise SettingsError(
                f"TRIPTYCH_CORS_ORIGINS: {one!r} is no origin such as https://example.org",
                field="TRIPTYCH_CORS_ORIGINS",
            )
    return frozenset(found)


def check_origin(connection: HTTPConnection, allowed: frozenset[str]) -> None:
    """Raise DisabledError if a page of a site that is not allowed is behind this.

    Browsers let any page open a WebSocket to anywhere, and post to anywhere without asking.
    """
    origin = connection.headers.get("origin")
    if origin is None or origin in allowed:
        return
    host = connection.headers.get("host", "")
    if urlsplit(origin).netloc.lower() != host.lower():
        raise DisabledError(
            "pages of other sites may not do this: Origin must be this host, or one of "
            "TRIPTYCH_CORS_ORIGINS",
            field="origin",
        )


def shared_with(app: ASGIApp, allowed: frozenset[str]) -> ASGIApp:
    """`app`, with pages of the allowed origins let in. No cookies: a key is sent by header."""
    return CORSMiddleware(
        app,
        allow_origins=sorted(allowed),
        allow_methods=("GET", "HEAD", "POST"),
        allow_headers=("*",),
        expose_headers=(
            "retry-after",
            "x-request-id",
            "x-queue-time",
            "x-inference-time",
            "inference-header-content-length",
        ),
        max_age=_REMEMBER_S,
    )
