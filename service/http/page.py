"""The page at `/` to try the service, and the one at `/docs` that shows the OpenAPI document.

Both are static files beside the code: nothing is built, and they load nothing from elsewhere, which
their Content-Security-Policy holds browsers to. BentoML's own page (it would be at `/`) has a
tracker of another origin in it; ours shows the same document with the same Swagger UI without that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.errors import UnknownNameError
from service.http.answers import Bytes, error_answer
from service.http.bodies import header_of
from service.http.openapi import Operation, Operations

FOLDER = Path(__file__).parents[1] / "page"
_TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'{styles}; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent, with its digest as its entity tag (RFC 9110, section 8.8.3)."""

    body: bytes
    media_type: bytes
    headers: dict[str, str]

    @classmethod
    def read(cls, path: Path, *, inline_styles: bool = False) -> Asset:
        """Read a file; `inline_styles` for Swagger UI, which sets some."""
        body = path.read_bytes()
        headers = {
            "etag": f'"{hashlib.sha256(body).hexdigest()[:32]}"',
            # Its address stays the same when it changes: kept, and asked for each time.
            "cache-control": "no-cache",
            "content-security-policy": _POLICY.format(
                styles=" 'unsafe-inline'" if inline_styles else ""
            ),
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
        }
        return cls(body, _TYPES[path.suffix], headers)

    def answer(self, request: Request) -> Response:
        """The file, or 304 to a client that has it."""
        known = (header_of(request, b"if-none-match") or "").split(",")
        if {one.strip().removeprefix("W/") for one in known} & {self.headers["etag"], "*"}:
            return Response(status_code=304, headers=self.headers)
        return Bytes(self.body, media_type=self.media_type, headers=self.headers)


_HTML = {"text/html": {"type": "string"}}
OPERATIONS: Operations = {
    "GET /": Operation(summary="The page to try it", tag="Pages", answer=_HTML, errors=()),
    "GET /docs": Operation(
        summary="The page that shows this document", tag="Pages", answer=_HTML, errors=()
    ),
    "GET /page/{file}": Operation(
        summary="What the pages are made of",
        tag="Pages",
        answer={"*/*": {"type": "string"}},
        errors=(404,),
    ),
}


def routes() -> Sequence[Route]:
    """`/`, `/docs` and `/page/{file}`, read once."""
    index = Asset.read(FOLDER / "index.html")
    docs = Asset.read(FOLDER / "docs.html", inline_styles=True)
    parts = {
        path.name: Asset.read(path)
        for path in sorted(FOLDER.iterdir())
        if path.suffix in _TYPES and path.suffix != ".html"
    }

    async def home(request: Request) -> Response:
        return index.answer(request)

    async def document(request: Request) -> Response:
        return docs.answer(request)

    async def part(request: Request) -> Response:
        found = parts.get(request.path_params["file"])
        if found is None:
            return error_answer(UnknownNameError(f"there is no route {request.scope['path']}"))
        return found.answer(request)

    return [Route("/", home), Route("/docs", document), Route("/page/{file}", part)]
