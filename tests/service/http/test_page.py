"""The pages' files as they are sent."""

from __future__ import annotations

import re

import httpx
import pytest
from starlette.responses import PlainTextResponse

from service.http import page
from service.http.front import Front
from service.settings import Settings
from tests.service.http.client import http

pytestmark = pytest.mark.anyio


@pytest.fixture
def client() -> httpx.AsyncClient:
    return http(Front(page.routes(), PlainTextResponse("behind"), {}, Settings()))


PARTS = sorted(path.name for path in page.FOLDER.iterdir() if path.suffix != ".html")


@pytest.mark.parametrize("path", ["/", "/docs", *(f"/page/{name}" for name in PARTS)])
async def test_a_file_is_sent_once_and_then_known(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 200
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    tag = answer.headers["etag"]
    assert re.fullmatch(r'"[0-9a-f]{32}"', tag)
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await client.get(path, headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (await client.get(path, headers={"if-none-match": '"other"'})).status_code == 200


async def test_types_are_told(client: httpx.AsyncClient) -> None:
    for path, media in (
        ("/", "text/html; charset=utf-8"),
        ("/page/style.css", "text/css; charset=utf-8"),
        ("/page/main.js", "text/javascript; charset=utf-8"),
        ("/page/icon.svg", "image/svg+xml"),
    ):
        assert (await client.head(path)).headers["content-type"] == media


async def test_the_policy_lets_nothing_in_from_elsewhere(client: httpx.AsyncClient) -> None:
    def policy(answer: httpx.Response) -> dict[str, str]:
        rules = answer.headers["content-security-policy"].split("; ")
        return dict(rule.split(" ", 1) for rule in rules)

    found = policy(await client.get("/"))
    assert found["default-src"] == "'none'"
    assert found["script-src"] == found["style-src"] == found["connect-src"] == "'self'"
    assert found["img-src"] == "'self' blob: data:"
    assert found["frame-ancestors"] == found["base-uri"] == found["form-action"] == "'none'"
    docs = policy(await client.get("/docs"))
    assert docs == found | {"style-src": "'self' 'unsafe-inline'"}


@pytest.mark.parametrize("path", ["/page/none.js", "/page/index.html", "/page/app.py"])
async def test_there_is_nothing_else(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


async def test_other_methods_are_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post("/")
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]


def test_the_markup_names_no_other_origin() -> None:
    for path in page.FOLDER.iterdir():
        named = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", path.read_text(encoding="utf-8")))
        assert named <= {"http://www.w3.org"}, path  # the name of SVG: nothing is loaded from it
