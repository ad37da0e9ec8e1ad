"""Pages of other sites, the admin port, and addresses that nobody fetches."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import tritonclient.grpc as over_grpc
from httpx_ws import WebSocketUpgradeError, connect_ws
from tritonclient.utils import InferenceServerException

from tests.e2e.server import Server, failed_start, serving
from tests.pictures import picture
from tests.ports import free_port

SITE = "https://app.example.org"
STRANGER = "https://evil.example.org"


@dataclass(frozen=True)
class Fenced:
    """A server with an admin port, which lets one site's pages in."""

    server: Server
    admin: str
    grpc_port: int


@pytest.fixture(scope="module")
def fenced(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fenced]:
    admin_port, grpc_port = free_port(), free_port()
    settings = {
        "admin_port": admin_port, "grpc_port": grpc_port, "model_control": "true",
        "cors_origins": f"{SITE}, http://localhost:8080",
    }  # fmt: skip
    with serving(tiny_store, tmp_path_factory.mktemp("fenced"), **settings) as server:
        server.wait_for("/readyz", 200)
        yield Fenced(server, f"http://127.0.0.1:{admin_port}", grpc_port)


# --- other sites ----------------------------------------------------------------------------


def preflight(url: str, origin: str) -> httpx.Response:
    headers = {
        "origin": origin, "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type",
    }  # fmt: skip
    return httpx.options(f"{url}/v1/completions", headers=headers, timeout=30)


def test_pages_of_a_listed_site_are_let_in(fenced: Fenced) -> None:
    answer = preflight(fenced.server.url, SITE)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == SITE
    assert "authorization" in answer.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in answer.headers
    asked = {"prompt": "a", "max_tokens": 1}
    said = fenced.server.post("/v1/completions", json=asked, headers={"origin": SITE})
    assert said.status_code == 200
    assert said.headers["access-control-allow-origin"] == SITE
    assert "origin" in said.headers["vary"].lower()
    refused = fenced.server.post("/v1/completions", json={}, headers={"origin": SITE})
    assert refused.headers["access-control-allow-origin"] == SITE, "pages can read errors too"


def test_pages_of_others_are_not(fenced: Fenced) -> None:
    answer = preflight(fenced.server.url, STRANGER)
    assert answer.status_code == 400
    assert "access-control-allow-origin" not in answer.headers
    said = fenced.server.post("/v1/sample", json={"n": 1}, headers={"origin": STRANGER})
    assert "access-control-allow-origin" not in said.headers


def test_by_default_no_site_is(server: Server) -> None:
    assert "access-control-allow-origin" not in preflight(server.url, SITE).headers
    said = server.post("/v1/sample", json={"n": 1}, headers={"origin": SITE})
    assert not any(name.startswith("access-control") for name in said.headers)


def test_websockets_heed_the_same_list(fenced: Fenced, server: Server) -> None:
    for where, origin, good in (
        (fenced.server, SITE, True), (fenced.server, STRANGER, False), (server, SITE, False),
    ):  # fmt: skip
        url = f"{where.url}/v1/completions/stream"
        if good:
            with connect_ws(url, headers={"origin": origin}) as socket:
                socket.send_json({"prompt": "a", "max_tokens": 1})
                assert "choices" in socket.receive_json()
            continue
        with (
            pytest.raises(WebSocketUpgradeError) as refused,
            connect_ws(url, headers={"origin": origin}),
        ):
            pass
        assert refused.value.response.status_code == 403


def test_a_page_cannot_unload_a_model_behind_its_visitors_back(fenced: Fenced) -> None:
    """A form's post needs no preflight."""
    answer = httpx.post(
        f"{fenced.admin}/v2/repository/models/cifar10/unload",
        headers={"origin": STRANGER, "content-type": "text/plain"}, content=b"{}", timeout=30,
    )  # fmt: skip
    assert answer.status_code == 403
    assert "Origin" in answer.json()["error"]


@pytest.mark.parametrize(
    "listed", ["*", "https://*.example.org", "example.org", "https://a/b", "https://A.org", "null"]
)
def test_what_is_no_origin_stops_the_start(tmp_path: Path, listed: str) -> None:
    if listed in ("*", "null"):  # one start each is enough; the others are asked in process
        status, log = failed_start(tmp_path / "home", cors_origins=listed)
        assert status != 0
        assert "TRIPTYCH_CORS_ORIGINS" in log
        return
    from service.errors import SettingsError
    from service.http.origins import origins

    with pytest.raises(SettingsError, match="no origin"):
        origins(f"https://good.example.org,{listed}")


# --- the admin port -------------------------------------------------------------------------


def test_the_admin_port_has_what_the_public_one_has_not(fenced: Fenced) -> None:
    assert fenced.server.get("/metrics").status_code == 404
    for name in ("load", "unload"):
        refused = fenced.server.post(f"/v2/repository/models/cifar10/{name}")
        assert refused.status_code == 404
    text = httpx.get(f"{fenced.admin}/metrics", timeout=30).text
    assert "triptych_requests_total" in text
    assert httpx.get(f"{fenced.admin}/readyz", timeout=30).status_code == 200
    for path in ("/v1/models", "/v2/models/cifar10", "/"):
        assert httpx.get(f"{fenced.admin}{path}", timeout=30).status_code == 404
    assert httpx.post(f"{fenced.admin}/v1/classify", content=picture()).status_code == 404


def test_a_load_on_the_admin_port_reaches_every_worker(fenced: Fenced) -> None:
    url = f"{fenced.admin}/v2/repository/models/cifar10-gan"
    assert httpx.post(f"{url}/unload", timeout=30).status_code == 200
    ready = "/v2/models/cifar10-gan/ready"
    fenced.server.wait_for(ready, 503)
    assert httpx.post(f"{url}/load", timeout=30).status_code == 200
    fenced.server.wait_for(ready, 200)


def test_grpc_leaves_loading_to_the_admin_port(fenced: Fenced) -> None:
    with over_grpc.InferenceServerClient(f"127.0.0.1:{fenced.grpc_port}") as client:
        with pytest.raises(InferenceServerException) as refused:
            client.unload_model("cifar10")
        assert refused.value.status() == "StatusCode.PERMISSION_DENIED"


def test_an_admin_port_that_is_taken_stops_the_start(fenced: Fenced, tmp_path: Path) -> None:
    taken = fenced.server.url.rpartition(":")[2]
    status, log = failed_start(tmp_path / "home", admin_port=taken)
    assert status != 0
    assert "TRIPTYCH_ADMIN_PORT" in log


# --- nothing is fetched ---------------------------------------------------------------------


@dataclass
class Bait:
    """A web server that counts who comes."""

    url: str
    visits: list[str]


@pytest.fixture
def bait() -> Iterator[Bait]:
    visits: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # as http.server names it
            visits.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(picture())

        do_POST = do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Bait(f"http://127.0.0.1:{server.server_port}/image.png", visits)
        finally:
            server.shutdown()
            thread.join()


def test_no_address_that_a_client_sends_is_fetched(server: Server, bait: Bait) -> None:
    url = bait.url
    text = {"inputs": [{"name": "image", "shape": [1, 32, 32, 3], "datatype": "UINT8",
                        "data": [url]}]}  # fmt: skip
    sent = {
        "/classify": [{"json": {"images": [url]}}, {"files": {"images": (None, url)}},
                      {"json": {"images": url}}, {"data": {"images": url}}],
        "/v1/classify": [{"content": url}, {"json": {"image": url}}, {"json": {"url": url}},
                         {"files": {"images": (None, url)}}, {"params": {"url": url}},
                         {"params": {"model": url}, "content": picture()}],
        "/v1/completions": [{"json": {"prompt": url}}, {"json": {"prompt": "a", "model": url}}],
        "/generate": [{"json": {"prompt": url, "max_tokens": 1}}, {"json": {"model": url}}],
        "/sample": [{"json": {"labels": [url]}}],
        "/v1/sample": [{"json": {"labels": [url]}}],
        "/v1/images/generations": [{"json": {"prompt": url}}],
        "/v1/tokenize": [{"json": {"prompt": url}}],
        "/v2/models/cifar10/infer": [{"json": text}, {"content": url}],
        "/v2/models/shakespeare/generate": [{"json": {"text_input": url}}],
        "/v2/repository/models/cifar10/load": [{"json": {"parameters": {"config": url}}}],
    }  # fmt: skip
    for path, requests in sent.items():
        for request in requests:
            answer = server.post(path, **request)
            assert answer.status_code < 500, (path, request, answer.text)
    with connect_ws(f"{server.url}/v1/completions/stream") as socket:
        socket.send_json({"prompt": url, "max_tokens": 1, "model": url})
        assert "error" in socket.receive_json()
    assert bait.visits == []
    assert httpx.get(url).content == picture(), "it would have been there"
    assert bait.visits == ["/image.png"]


def test_no_address_is_fetched_over_grpc(fenced: Fenced, bait: Bait) -> None:
    import numpy as np

    image = over_grpc.InferInput("image", [1], "BYTES")
    image.set_data_from_numpy(np.array([bait.url.encode()], dtype=np.object_))
    with over_grpc.InferenceServerClient(f"127.0.0.1:{fenced.grpc_port}") as client:
        with pytest.raises(InferenceServerException):
            client.infer("cifar10", [image])
        with pytest.raises(InferenceServerException):
            client.get_model_metadata(bait.url)
    assert bait.visits == []
