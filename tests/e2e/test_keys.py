"""Keys on every protocol of a running service: who is let in, how often, and what they are told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import bentoml
import httpx
import numpy as np
import openai
import pytest
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from httpx_ws import WebSocketUpgradeError, connect_ws
from tritonclient.utils import InferenceServerException

from service.keys import new
from tests.e2e.server import Server, serving
from tests.pictures import picture
from tests.ports import free_port

RATE, BURST, QUOTA = 0.5, 8, 12


@dataclass(frozen=True)
class Guarded:
    """A server that asks for keys, and some of them."""

    server: Server
    file: Path
    grpc_port: int
    tokens: dict[str, str]

    def headers(self, key_id: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.tokens[key_id]}"}

    def get(self, path: str, key_id: str) -> httpx.Response:
        return httpx.get(self.server.url + path, headers=self.headers(key_id), timeout=30)

    def classify(self, key_id: str) -> httpx.Response:
        return self.server.post("/v1/classify", content=picture(), headers=self.headers(key_id))


@pytest.fixture(scope="module")
def guarded(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    more = {
        "user": "", "operator": "admin = true", "old": "expires = 2020-01-01",
        "reader": 'models = ["shakespeare"]',
        "hasty": f"requests_per_s = {RATE}\nburst = {BURST}",
        "daily": f"requests_per_day = {QUOTA}", "talker": "requests_per_day = 4",
        "caller": "requests_per_day = 3", "streamer": "requests_per_day = 1",
        "spent": "requests_per_day = 1",
    }  # fmt: skip
    tokens, tables = {}, []
    for key_id, extra in more.items():
        tokens[key_id], digest = new(key_id)
        tables.append(f'[[keys]]\nid = "{key_id}"\nsha256 = "{digest}"\n{extra}\n')
    (folder / "etc").mkdir()
    file = folder / "etc" / "keys.toml"
    file.write_text("\n".join(tables))
    port = free_port()
    settings = {"keys_file": file, "model_control": "true", "grpc_port": port}
    with serving(tiny_store, folder / "home", **settings) as server:
        server.wait_for("/readyz", 200)
        yield Guarded(server, file, port, tokens)
        secrets = [token.partition(".")[2] for token in tokens.values()]
        assert not any(secret in server.log for secret in secrets)


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/healthz", "/v2/health/live",
                                  "/v2/health/ready", "/openapi.json"])  # fmt: skip
def test_probes_and_pages_ask_for_nothing(guarded: Guarded, path: str) -> None:
    assert guarded.server.get(path).status_code == 200


ROUTES = [
    ("GET", "/v1/models"), ("POST", "/v1/classify"), ("POST", "/v1/completions"),
    ("POST", "/v1/images/generations"), ("POST", "/v1/sample"), ("POST", "/v1/tokenize"),
    ("GET", "/v2"), ("GET", "/v2/models/stats"), ("POST", "/v2/models/cifar10/infer"),
    ("POST", "/v2/models/shakespeare/generate_stream"), ("POST", "/v2/repository/index"),
    ("POST", "/v2/repository/models/cifar10/unload"), ("GET", "/metrics"), ("POST", "/classify"),
    ("POST", "/generate"), ("POST", "/sample"), ("GET", "/schema.json"), ("GET", "/nowhere"),
    ("GET", "/v1/completions/stream"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("sent", [None, "Bearer wrong", "Basic dXNlcjpwdw==", "old"])
def test_all_else_asks_for_a_key(
    guarded: Guarded, method: str, path: str, sent: str | None
) -> None:
    headers = guarded.headers("old") if sent == "old" else {"authorization": sent} if sent else {}
    answer = httpx.request(method, guarded.server.url + path, headers=headers, timeout=30)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    error = answer.json()["error"]
    if path.startswith("/v2"):
        assert "key" in error
    else:
        assert error["code"] == "invalid_api_key"


def test_the_usual_clients_get_in_with_a_key(guarded: Guarded) -> None:
    token, url = guarded.tokens["user"], guarded.server.url
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0)
    answer = client.completions.create(model="shakespeare", prompt="a", max_tokens=3, seed=1)
    assert len(answer.choices[0].text) == 3
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0).models.list()
    with bentoml.SyncHTTPClient(url, token=token) as own:
        assert len(own.generate(prompt="a", max_tokens=3)["text"]) == 3
    triton = over_http.InferenceServerClient(url.removeprefix("http://"))
    bearer = {"Authorization": f"Bearer {token}"}
    assert len(triton.get_model_repository_index(headers=bearer)) == 3
    with pytest.raises(InferenceServerException, match="key"):
        triton.get_model_repository_index()
    answer_ = httpx.get(f"{url}/v1/models", headers={"x-api-key": token}, timeout=30)
    assert answer_.status_code == 200


def test_operators_routes_want_an_operators_key(guarded: Guarded) -> None:
    unload = "/v2/repository/models/cifar10-gan/unload"
    for refused in (guarded.get("/metrics", "user"),
                    guarded.server.post(unload, headers=guarded.headers("user"))):  # fmt: skip
        assert refused.status_code == 403
        assert "admin" in refused.text
    assert guarded.get("/metrics", "operator").status_code == 200
    load = unload.replace("unload", "load")
    for path in (unload, load):
        answer = guarded.server.post(path, headers=guarded.headers("operator"))
        assert answer.status_code == 200


def test_a_key_for_one_model_gets_no_other(guarded: Guarded) -> None:
    headers = guarded.headers("reader")
    text = guarded.server.post(
        "/v1/completions", json={"prompt": "a", "max_tokens": 1}, headers=headers
    )
    assert text.status_code == 200
    refused = guarded.classify("reader")
    assert refused.status_code == 403
    assert refused.json()["error"]["param"] == "model"
    for path in ("/v2/models/cifar10", "/v2/models/cifar10/stats", "/v2/models/cifar10/config"):
        assert guarded.get(path, "reader").status_code == 403
    endpoint = guarded.server.post("/sample", json={"n": 1}, headers=headers)
    assert endpoint.status_code == 403


def test_a_key_for_one_model_gets_its_versions_and_no_other_s(guarded: Guarded) -> None:
    headers = guarded.headers("reader")
    served = guarded.get("/readyz", "reader").json()["serving"]
    asked = {"prompt": "a", "max_tokens": 1, "model": f"shakespeare@{served['shakespeare']}"}
    text = guarded.server.post("/v1/completions", json=asked, headers=headers)
    assert text.status_code == 200, text.text
    other = f"cifar10@{served['cifar10']}"
    refused = guarded.server.post(
        "/v1/classify", params={"model": other}, content=picture(), headers=headers
    )
    assert refused.status_code == 403
    assert guarded.get(f"/v2/models/{other}", "reader").status_code == 403


def test_a_rate_holds_over_the_workers(guarded: Guarded) -> None:
    """Each request on a connection of its own: both workers are asked."""
    begin_s = time.monotonic()
    answers = [guarded.get("/v1/models", "hasty") for _ in range(20)]
    took_s = time.monotonic() - begin_s
    good = sum(answer.status_code == 200 for answer in answers)
    assert BURST <= good <= BURST + RATE * took_s + 1
    refused = [answer for answer in answers if answer.status_code != 200]
    assert refused, f"20 requests took {took_s:.0f} s; the rate was not reached"
    for answer in refused:
        assert answer.status_code == 429
        assert answer.headers["retry-after"] in ("1", "2")
        assert answer.json()["error"]["code"] == "rate_limited"
        assert f"{RATE} requests a second" in answer.json()["error"]["message"]
    time.sleep(2.2)
    assert guarded.get("/v1/models", "hasty").status_code == 200


def test_a_quota_holds_over_workers_and_protocols(guarded: Guarded) -> None:
    statuses = [guarded.get("/v1/models", "daily").status_code for _ in range(QUOTA - 1)]
    assert statuses == [200] * (QUOTA - 1)
    assert guarded.get("/v2/models/stats", "daily").status_code == 200
    for path in ("/v1/models", "/v2/models/stats"):
        answer = guarded.get(path, "daily")
        assert answer.status_code == 429
        left_s = 86_400 - time.time() % 86_400
        assert abs(int(answer.headers["retry-after"]) - left_s) < 60
        assert f"{QUOTA} requests of this day" in answer.text


def test_over_a_websocket_each_request_counts(guarded: Guarded) -> None:
    url = f"{guarded.server.url}/v1/completions/stream"
    with pytest.raises(WebSocketUpgradeError) as refused, connect_ws(url):
        pass
    assert refused.value.response.status_code == 401
    with connect_ws(url, headers=guarded.headers("talker")) as socket:  # that is the first
        ends = []
        for _ in range(5):
            socket.send_json({"prompt": "a", "max_tokens": 1, "stream": False})
            message = socket.receive_json()
            ends.append("error" in message)
            if "error" in message:
                assert message["error"]["code"] == "quota_exceeded"
            else:
                assert socket.receive_json() == {"done": True}
        assert ends == [False, False, False, True, True]


def grpc_infer(port: int, headers: dict[str, str] | None) -> None:
    image = over_grpc.InferInput("image", [1, 32, 32, 3], "UINT8")
    image.set_data_from_numpy(np.zeros((1, 32, 32, 3), np.uint8))
    with over_grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
        client.infer("cifar10", [image], headers=headers)


def test_grpc_asks_for_the_same_keys(guarded: Guarded) -> None:
    with over_grpc.InferenceServerClient(f"127.0.0.1:{guarded.grpc_port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        for headers in (None, {"authorization": "Bearer wrong"}, guarded.headers("old")):
            with pytest.raises(InferenceServerException) as refused:
                client.get_server_metadata(headers=headers)
            assert refused.value.status() == "StatusCode.UNAUTHENTICATED"
        client.get_server_metadata(headers={"x-api-key": guarded.tokens["user"]})
        for headers, call in (
            (guarded.headers("user"), lambda h: client.unload_model("cifar10", headers=h)),
            (guarded.headers("reader"), lambda h: client.get_model_metadata("cifar10", headers=h)),
        ):
            with pytest.raises(InferenceServerException) as refused:
                call(headers)
            assert refused.value.status() == "StatusCode.PERMISSION_DENIED"
    caller = guarded.headers("caller")
    for _ in range(3):
        grpc_infer(guarded.grpc_port, caller)
    with pytest.raises(InferenceServerException) as refused:
        grpc_infer(guarded.grpc_port, caller)
    assert refused.value.status() == "StatusCode.RESOURCE_EXHAUSTED"


def _keep(answers: list[object], result: object, error: object) -> None:
    answers.append(error or result)


def test_a_grpc_stream_is_refused_and_counted_too(guarded: Guarded) -> None:
    image = over_grpc.InferInput("image", [1, 32, 32, 3], "UINT8")
    image.set_data_from_numpy(np.zeros((1, 32, 32, 3), np.uint8))
    for headers, good in (({}, 0), (guarded.headers("streamer"), 1)):
        answers: list[object] = []
        with over_grpc.InferenceServerClient(f"127.0.0.1:{guarded.grpc_port}") as client:
            client.start_stream(partial(_keep, answers), headers=headers)
            with suppress(InferenceServerException):  # it may have ended already
                for _ in range(good + 1):
                    client.async_stream_infer("cifar10", [image])
            end_s = time.monotonic() + 20
            while len(answers) <= good and time.monotonic() < end_s:
                time.sleep(0.02)
            client.stop_stream()
        refused = [isinstance(answer, InferenceServerException) for answer in answers]
        assert refused == [False] * good + [True]


def test_metrics_name_keys_by_their_ids(guarded: Guarded) -> None:
    assert guarded.classify("user").status_code == 200
    assert guarded.server.get("/v1/models").status_code == 401
    assert guarded.get("/metrics", "user").status_code == 403
    assert [guarded.get("/v1/models", "spent").status_code for _ in range(2)] == [200, 429]
    text = guarded.get("/metrics", "operator").text
    assert 'triptych_key_requests_total{key="user",outcome="admitted"}' in text
    assert 'triptych_key_requests_total{key="",outcome="invalid_api_key"}' in text
    assert 'triptych_key_requests_total{key="user",outcome="not_allowed"}' in text
    assert 'triptych_key_requests_total{key="spent",outcome="quota_exceeded"}' in text
    for token in guarded.tokens.values():
        assert token not in text


def test_a_key_added_or_taken_while_serving(guarded: Guarded) -> None:
    token, digest = new("late")
    before = guarded.file.read_text()

    def statuses() -> set[int]:
        headers = {"x-api-key": token}
        url = f"{guarded.server.url}/v1/models"
        return {httpx.get(url, headers=headers, timeout=30).status_code for _ in range(12)}

    assert statuses() == {401}
    for text, wanted in (
        (before + f'\n[[keys]]\nid = "late"\nsha256 = "{digest}"\n', {200}),
        ("[[keys]]\nbroken", {200}),
        (before, {401}),
    ):
        guarded.file.write_text(text)
        end_s = time.monotonic() + 20
        while statuses() != wanted or (
            "broken" in text and "keys before stay" not in guarded.server.log
        ):
            assert time.monotonic() < end_s
            time.sleep(0.1)
    assert guarded.classify("user").status_code == 200
