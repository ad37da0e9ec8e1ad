"""What the service writes: lines of JSON, one of them a request, and nothing private."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
from httpx_ws import connect_ws
from tritonclient.utils import InferenceServerException

from service.keys import new
from service.telemetry.request_log import FIELDS
from tests.e2e.server import Server, serving
from tests.pictures import picture
from tests.ports import free_port

SECRET = "unheard-of"


@pytest.fixture(scope="module")
def grpc_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def store(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(tiny_store, tmp_path_factory.mktemp("logged") / "store"))


@pytest.fixture(scope="module")
def logged(
    store: Path, grpc_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    settings: dict[str, object] = {"log_format": "json", "log_requests": 1, "grpc_port": grpc_port}
    with serving(store, home, **settings) as running:
        running.wait_for("/readyz", 200)
        yield running
        assert running.stop() == 0
        lines(running)  # to the end, every line is JSON


def lines(server: Server) -> list[dict[str, Any]]:
    """All that all processes wrote, supervisor's and BentoML's own included."""
    whole = server.log.rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()]


def line_of(server: Server, request_id: str) -> dict[str, Any]:
    end_s, found = time.monotonic() + 10, list[dict[str, Any]]()
    while not found and time.monotonic() < end_s:  # it is written once the answer is sent
        time.sleep(0.02)
        found = [
            line
            for line in lines(server)
            if line["logger"] == "triptych.request" and line["request_id"] == request_id
        ]
    (line,) = found
    assert set(line) - {"time", "level", "logger", "message"} <= set(FIELDS)
    return line


SENT: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "classify": (
        "/v1/classify",
        {"content": picture()},
        {"route": "classify", "status": 200, "model": "cifar10", "rows": 1},
    ),
    "sample": (
        "/v1/sample",
        {"json": {"n": 3}},
        {"route": "sample", "outcome": "ok", "model": "cifar10-gan", "rows": 3},
    ),
    "text": (
        "/v1/completions",
        {"json": {"prompt": "a", "max_tokens": 7}},
        {"route": "completions", "outcome": "ok", "model": "shakespeare", "tokens": 7},
    ),
    "stream": (
        "/v1/completions",
        {"json": {"prompt": "a", "max_tokens": 7, "stream": True}},
        {"route": "completions", "outcome": "ok", "tokens": 7},
    ),
    "bentoml": (
        "/sample",
        {"json": {"n": 2}},
        {"route": "bentoml.sample", "outcome": "ok", "rows": 2},
    ),
    "guarded": ("/sample", {"json": {"n": "x"}}, {"status": 400, "outcome": "invalid"}),
    "unread": ("/v1/completions", {"content": b"{"}, {"status": 400, "outcome": "invalid"}),
    "nowhere": ("/nowhere", {}, {"status": 404, "outcome": "invalid"}),
    "secret": (f"/v1/classify?model={SECRET}", {"content": picture()}, {"status": 404}),
    "oip": ("/v2/models/cifar10/infer", {"content": b"{"}, {"route": "oip.infer", "status": 400}),
}


@pytest.mark.parametrize("name", SENT)
def test_every_request_is_a_line_and_gets_its_id_back(logged: Server, name: str) -> None:
    path, options, expected = SENT[name]
    answer = logged.post(path, headers={"x-request-id": f"log-{name}"}, **options)
    assert answer.headers.get_list("x-request-id") == [f"log-{name}"]
    line = line_of(logged, f"log-{name}")
    assert expected.items() <= line.items()
    assert line["bytes_out"] == len(answer.content)
    assert line["path"] == path.partition("?")[0]
    if line["outcome"] == "ok":
        assert line["version"]
        assert line["queue_ms"] + line["inference_ms"] <= line["total_ms"]


def test_payloads_and_queries_are_not_logged(logged: Server) -> None:
    prompt = {"prompt": SECRET, "max_tokens": 1}
    for path in ("/v1/completions", "/generate", "/v1/images/generations"):
        logged.post(path, json=prompt)
    logged.post(f"/v1/classify?model={SECRET}", content=picture())
    assert SECRET not in logged.log


def test_an_id_that_will_not_do_is_replaced(logged: Server) -> None:
    answer = logged.get("/v1/models")
    made = answer.headers["x-request-id"]
    assert line_of(logged, made)["route"] == "models"
    bad = logged.post("/v1/classify", headers={"x-request-id": "a b"}, content=b"")
    assert bad.headers["x-request-id"] not in ("a b", made)
    assert line_of(logged, bad.headers["x-request-id"])["status"] == 422


def test_messages_over_a_websocket_are_lines_of_their_own(logged: Server) -> None:
    url = logged.url.replace("http", "ws") + "/v1/completions/stream"
    with connect_ws(url, headers={"x-request-id": "ws"}) as socket:
        assert socket.response is not None
        assert socket.response.headers["x-request-id"] == "ws"
        socket.send_json({"prompt": "a", "max_tokens": 3})
        while "choices" in socket.receive_json():
            pass
        socket.send_text("no json")
        assert "error" in socket.receive_json()
    answered = line_of(logged, "ws/1")
    assert (answered["outcome"], answered["tokens"]) == ("ok", 3)
    assert line_of(logged, "ws/2")["outcome"] == "invalid"


def test_a_grpc_call_has_an_id_and_a_line(logged: Server, grpc_port: int) -> None:
    channel = tritonclient.grpc.grpc.insecure_channel(f"127.0.0.1:{grpc_port}")
    pb2 = tritonclient.grpc.service_pb2
    stub = tritonclient.grpc.service_pb2_grpc.GRPCInferenceServiceStub(channel)
    request = pb2.ModelInferRequest(
        model_name="cifar10",
        inputs=[{"name": "image", "datatype": "UINT8", "shape": [1, 32, 32, 3]}],
        raw_input_contents=[np.zeros(3072, np.uint8).tobytes()],
    )
    with channel:
        _, call = stub.ModelInfer.with_call(request, metadata=(("x-request-id", "grpc"),))
        assert dict(call.initial_metadata())["x-request-id"] == "grpc"
        request.model_name = "nobody"
        with pytest.raises(tritonclient.grpc.grpc.RpcError) as refused:
            stub.ModelInfer(request, metadata=(("x-request-id", "grpc-bad"),))
        assert dict(refused.value.initial_metadata())["x-request-id"] == "grpc-bad"
        raw = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(tritonclient.grpc.grpc.RpcError):
            raw(b"no message", metadata=(("x-request-id", "grpc-unread"),))
    line = line_of(logged, "grpc")
    assert (line["route"], line["status"], line["outcome"]) == ("grpc.infer", 0, "ok")
    assert (line["method"], line["model"], line["rows"]) == ("ModelInfer", "cifar10", 1)
    assert line_of(logged, "grpc-bad")["status"] == 5
    assert line_of(logged, "grpc-unread")["outcome"] == "invalid"


def test_life_is_told_in_the_same_format(logged: Server, store: Path) -> None:
    (store / "cifar10" / ".CURRENT.next").write_text("20990101t000000-00000000\n")
    (store / "cifar10" / ".CURRENT.next").rename(store / "cifar10" / "CURRENT")
    logged.wait_for("/readyz", 200)
    for _ in range(50):
        refused = [one for one in lines(logged) if "is not served" in one["message"]]
        if refused:
            break
        logged.get("/v1/models")
    assert refused[0]["logger"] == "triptych.registry"
    assert refused[0]["level"] == "error"
    loggers = {line["logger"] for line in lines(logged)}
    assert {"triptych.registry", "triptych.request", "bentoml.serve"} <= loggers
    assert any("cifar10 serves" in line["message"] for line in lines(logged))


def test_the_keys_id_is_logged_and_what_is_refused_without_one(store: Path, tmp_path: Path) -> None:
    token, digest = new("alice")
    (tmp_path / "keys.toml").write_text(f'[[keys]]\nid = "alice"\nsha256 = "{digest}"\n')
    port = free_port()
    settings: dict[str, object] = {
        "workers": 1,
        "log_format": "json",
        "log_requests": 1,
        "keys_file": tmp_path / "keys.toml",
        "grpc_port": port,
    }
    with serving(store, tmp_path / "home", **settings) as running:
        running.wait_for("/readyz", 200)
        key = {"authorization": f"Bearer {token}"}
        text = {"prompt": "a", "max_tokens": 1}
        running.post("/v1/completions", json=text, headers=key | {"x-request-id": "known"})
        refused = running.post("/v1/completions", json=text, headers={"x-request-id": "nobody"})
        url = running.url.replace("http", "ws") + "/v1/completions/stream"
        with connect_ws(url, headers=key | {"x-request-id": "socket"}) as socket:
            socket.send_json(text)
            while "choices" in socket.receive_json():
                pass
        with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
            client.get_model_metadata("cifar10", headers=key | {"x-request-id": "call"})
            with pytest.raises(InferenceServerException):
                client.get_model_metadata("cifar10", headers={"x-request-id": "stranger"})
        for request_id in ("known", "socket/1", "call"):
            assert line_of(running, request_id)["client"] == "alice"
        assert (refused.status_code, refused.headers["x-request-id"]) == (401, "nobody")
        for request_id in ("nobody", "stranger"):
            line = line_of(running, request_id)
            assert line["outcome"] == "invalid"
            assert "client" not in line
        assert token not in running.log


def test_off_an_id_that_was_sent_comes_back_and_nothing_is_logged(server: Server) -> None:
    sent = {"x-request-id": "quiet"}
    for answer in (
        server.get("/livez"),
        server.post("/v1/classify", content=picture()),
        server.get("/nowhere"),
    ):
        assert "x-request-id" not in answer.headers
    for answer in (
        server.post("/v1/classify", content=picture(), headers=sent),
        server.post("/v1/classify", content=b"", headers=sent),
        server.post("/sample", json={"n": 1}, headers=sent),
        server.post("/v1/completions", json={"prompt": "a", "stream": True}, headers=sent),
        server.post("/nowhere", headers=sent),
    ):
        assert answer.headers.get_list("x-request-id") == ["quiet"]
    url = server.url.replace("http", "ws") + "/v1/completions/stream"
    with connect_ws(url, headers=sent) as socket:
        assert socket.response is not None
        assert socket.response.headers["x-request-id"] == "quiet"
    assert "quiet" not in server.log
