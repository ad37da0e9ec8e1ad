"""What clients get wrong is answered with what to change, and costs nobody else anything."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.e2e.server import Server
from tests.pictures import bomb, picture

IMAGE = ("images", ("a.png", picture()))


def post(path: str, **options: Any) -> tuple[str, str, dict[str, Any]]:
    return "POST", path, options


def completion(**fields: Any) -> tuple[str, str, dict[str, Any]]:
    return post("/v1/completions", json={"prompt": "a"} | fields)


def generation(**fields: Any) -> tuple[str, str, dict[str, Any]]:
    return post("/v1/images/generations", json={"prompt": "a cat"} | fields)


def sample(**fields: Any) -> tuple[str, str, dict[str, Any]]:
    return post("/v1/sample", json=fields)


JSON = {"content-type": "application/json"}
PICKLE = {"content-type": "application/vnd.bentoml+pickle"}
FORM = {"content-type": "multipart/form-data; boundary=x"}

Case = tuple[tuple[str, str, dict[str, Any]], int, str | None, str]
"""A request, its status, the field that must be named, and a piece of the message."""

CLASSIFY: list[Case] = [
    (post("/v1/classify", content=b""), 422, "image", "empty"),
    (post("/v1/classify", content=b"no picture"), 422, "image", "JPEG, PNG"),
    (post("/v1/classify", content=picture()[:200]), 422, "image", "damaged or truncated"),
    (post("/v1/classify", content=picture(kind="JPEG")[:300]), 422, "image", "truncated"),
    (post("/v1/classify", content=bomb(1001, 1000)), 413, "image", "1000000 pixels"),
    (post("/v1/classify", content=bomb(60_000, 60_000)), 413, "image", "1000000 pixels"),
    (post("/v1/classify", content=b"x" * 300_000), 413, "body", "262144 bytes"),
    (post("/v1/classify", files=[IMAGE] * 9), 413, "files", "8 files"),
    (post("/v1/classify", files=[IMAGE, ("images", ("b", b"no"))]), 422, "images[1]", "JPEG"),
    (post("/v1/classify", files={"images": (None, "http://x/")}), 400, "images", "text field"),
    (post("/v1/classify", content=b"--x--", headers=FORM), 400, "images", "no image"),
    (post("/v1/classify", content=b"--x\r\n", headers=FORM), 400, "body", "cut off"),
    (post("/v1/classify", json={"url": "http://x/"}), 415, "content-type", "bytes"),
    (post("/v1/classify?model=nobody", content=picture()), 404, "model", "nobody"),
    (post("/v1/classify?model=shakespeare", content=picture()), 404, "model", "not a cnn"),
    (post("/v1/classify?top_k=0", content=picture()), 400, "top_k", "1 to 10"),
    (post("/v1/classify?top_k=11", content=picture()), 400, "top_k", "1 to 10"),
    (post("/v1/classify?top_k=x", content=picture()), 400, "top_k", "1 to 10"),
    (post(f"/v1/classify?top_k={'9' * 5000}", content=picture()), 400, "top_k", "1 to 10"),
    (post("/v1/classify?explain=perhaps", content=picture()), 400, "explain", "true or false"),
    (post("/v1/classify?topk=1", content=picture()), 400, "topk", "top_k"),
]

COMPLETIONS: list[Case] = [
    (post("/v1/completions", json={}), 400, "prompt", "missing"),
    (completion(prompt=5), 400, "prompt", "int"),
    (completion(prompt=[]), 400, "prompt", "empty"),
    (completion(prompt=["a", 5]), 400, "prompt[1]", "text"),
    (completion(prompt=[5, 96]), 400, "prompt", "0 to 95"),
    (completion(prompt=[-1]), 400, "prompt", "0 to 95"),
    (completion(prompt="naïve"), 400, "prompt", "'ï' at position 2"),
    (completion(prompt=["a", "日本"]), 400, "prompt[1]", "96 characters"),
    (completion(prompt="a" * 2001), 413, "prompt", "limit is 2000"),
    (completion(prompt=["a"] * 9), 413, "n", "limit is 8"),
    (completion(n=9), 413, "n", "limit is 8"),
    (completion(n=0), 400, "n", ">= 1"),
    (completion(max_tokens=1001), 413, "max_tokens", "limit is 1000"),
    (completion(max_tokens=-1), 400, "max_tokens", ">= 0"),
    (completion(max_tokens="ten"), 400, "max_tokens", "int"),
    (completion(temperature=2.1), 400, "temperature", "<= 2"),
    (completion(temperature=-0.1), 400, "temperature", ">= 0"),
    (completion(top_p=1.5), 400, "top_p", "<= 1"),
    (completion(top_k=-1), 400, "top_k", ">= 0"),
    (completion(seed=-1), 400, "seed", ">= 0"),
    (completion(seed=2**63), 400, "seed", "9223372036854775807"),
    (completion(seed=1.5), 400, "seed", "int"),
    (completion(stop=["a"] * 5), 400, "stop", "limit is 4"),
    (completion(stop="a" * 65), 400, "stop", "64"),
    (completion(stop=[""]), 400, "stop", "1 to 64"),
    (completion(logprobs=6), 400, "logprobs", "<= 5"),
    (completion(suffix="b"), 400, "suffix", "not supported"),
    (completion(best_of=3), 400, "best_of", "must equal n"),
    (completion(temprature=1), 400, "temprature", "unknown"),
    (completion(model="gpt-4"), 404, "model", "gpt-4"),
    (completion(model="cifar10"), 404, "model", "not a lstm"),
    (completion(stream="yes"), 400, "stream", "bool"),
    (post("/v1/completions", content=b'{"prompt": "a'), 400, "body", "JSON"),
    (post("/v1/completions", content=b"\xff"), 400, "body", "JSON"),
    (post("/v1/completions", content=b"[" * 100_000), 400, "body", "object"),
    (post("/v1/completions", content=b'{"prompt": ' + b"[" * 100_000), 400, "body", "JSON"),
    (post("/v1/completions", content=b""), 400, "body", "empty"),
    (post("/v1/completions", content=b"[1]", headers=JSON), 400, "body", "object"),
    (post("/v1/completions", content=b"x" * 300_000), 413, "body", "262144 bytes"),
    (
        post("/v1/completions", content=b"prompt", headers={"content-type": "text/plain"}),
        415, "content-type", "application/json",
    ),
    (post("/v1/completions", files=[IMAGE]), 415, "content-type", "application/json"),
]  # fmt: skip

PICTURES: list[Case] = [
    (post("/v1/images/generations", json={}), 400, "prompt", "missing"),
    (generation(prompt="a unicorn"), 400, "prompt", "airplane"),
    (generation(prompt="a cat and a dog"), 400, "prompt", "more than one"),
    (generation(n=0), 400, "n", ">= 1"),
    (generation(n=9), 413, "n", "limit is 8"),
    (generation(size="1024x1024"), 400, "size", "32x32"),
    (generation(response_format="url"), 400, "response_format", "b64_json"),
    (generation(response_format="gif"), 400, "response_format", "gif"),
    (generation(seed=-1), 400, "seed", ">= 0"),
    (generation(model="dall-e"), 404, "model", "dall-e"),
    (sample(labels=["cat", "unicorn"]), 400, "labels[1]", "unicorn"),
    (sample(labels="cat"), 400, "labels", "array"),
    (sample(labels=[1]), 400, "labels[0]", "str"),
    (sample(labels=["cat"] * 9), 413, "n", "limit is 8"),
    (sample(n=1, columns=0), 400, "columns", ">= 1"),
    (sample(label="cat"), 400, "label", "unknown"),
    (
        post("/v1/sample", json={"n": 1}, headers={"accept": "text/html"}),
        400, "accept", "image/png",
    ),
]  # fmt: skip

ENDPOINTS: list[Case] = [
    (post("/classify", files={"images": (None, "http://127.0.0.1/x")}), 400, "images", "address"),
    (post("/classify", json={"images": ["http://127.0.0.1/x"]}), 415, "images", "multipart"),
    (post("/classify", json={}), 400, "images", "required"),
    (post("/classify", files=[IMAGE] * 9), 413, "files", "8 files"),
    (post("/classify", files=[IMAGE, ("images", ("b", b"no"))]), 422, "images[1]", "JPEG"),
    (post("/classify", files=[("images", ("b" * 201, picture()))]), 400, "images", "200 bytes"),
    (post("/classify", files=[IMAGE], data={"top_k": "0"}), 400, "top_k", "1 to 10"),
    (post("/classify", files=[IMAGE], data={"top_k": "x"}), 400, "top_k", "integer"),
    (post("/classify", files=[IMAGE], data={"model": "nobody"}), 404, "model", "nobody"),
    (post("/classify", files=[IMAGE], data={"topk": "1"}), 400, "topk", "top_k"),
    (post("/classify", files=[("images", ("b", b"x" * 300_000))]), 413, "body", "262144 bytes"),
    (post("/classify", content=picture(), headers={"content-type": "image/png"}),
     415, "content-type", "multipart"),
    (post("/generate", json={}), 400, "prompt", "required"),
    (post("/generate", json={"prompt": "é"}), 400, "prompt", "'é'"),
    (post("/generate", json={"prompt": "a", "max_tokens": -1}), 400, "max_tokens", ">= 0"),
    (post("/generate", json={"prompt": "a", "max_tokens": 5000}), 413, "max_tokens", "1000"),
    (post("/generate", json={"prompt": "a", "seed": "x"}), 400, "seed", "integer"),
    (post("/generate", json={"prompt": "a", "tokens": 3}), 400, "tokens", "max_tokens"),
    (post("/generate", content=b"{", headers=JSON), 400, "body", "JSON"),
    (post("/generate", content=b"\x80\x04.", headers=PICKLE),
     415, "content-type", "pickle"),
    (post("/sample", json={"labels": ["unicorn"]}), 400, "labels[0]", "unicorn"),
    (post("/sample", json={"n": 0}), 400, "n", ">= 1"),
    (post("/sample", json={"n": 9}), 413, "n", "limit is 8"),
    (post("/sample", json={"seed": -1}), 400, "seed", ">= 0"),
    (post("/sample", json=[1]), 400, "body", "object"),
]  # fmt: skip

ROUTES: list[Case] = [
    (("GET", "/v1/classify", {}), 405, None, "POST"),
    (("PUT", "/v1/completions", {}), 405, None, "POST"),
    (("DELETE", "/v1/models", {}), 405, None, "GET"),
    (("POST", "/readyz", {}), 405, None, "GET"),
    (("GET", "/v1/nowhere", {}), 404, None, "/v1/nowhere"),
    (("POST", "/v1/chat/completions", {}), 404, None, "/v1/chat/completions"),
    (("GET", "/v1/models/nobody", {}), 404, "model", "nobody"),
    (("GET", "/v1/models/..%2f..%2fetc", {}), 404, None, ""),
]


def name_of(case: Case) -> str:
    (method, path, _), status, field, piece = case
    return f"{method} {path[:40]} {status} {field} {piece}"


@pytest.fixture(scope="module")
def pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(2)


NEIGHBOUR = post("/v1/classify?top_k=10", content=picture(77))


@pytest.fixture(scope="module")
def neighbour(server: Server) -> bytes:
    """What a sound request is answered when nothing is wrong around it."""
    return send(server, NEIGHBOUR).content


def send(server: Server, request: tuple[str, str, Mapping[str, Any]]) -> httpx.Response:
    method, path, options = request
    return httpx.request(method, server.url + path, timeout=60, **options)


@pytest.mark.parametrize(
    "case", [*CLASSIFY, *COMPLETIONS, *PICTURES, *ENDPOINTS, *ROUTES], ids=name_of
)
def test_bad_input_is_named_and_harms_nobody(
    server: Server, pool: ThreadPoolExecutor, neighbour: bytes, case: Case
) -> None:
    request, status, field, piece = case
    beside = pool.submit(send, server, NEIGHBOUR)
    answer = send(server, request)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["param"] == field
    assert piece in error["message"]
    assert error["type"] == "invalid_request_error"
    assert "Traceback" not in answer.text
    assert beside.result().content == neighbour


@pytest.mark.parametrize(("method", "path"), [("GET", "/classify"), ("GET", "/nowhere")])
def test_what_bentoml_refuses_is_a_refusal_too(server: Server, method: str, path: str) -> None:
    answer = httpx.request(method, server.url + path, timeout=30)
    assert answer.status_code in (404, 405)


def test_a_connection_outlives_its_refusals(server: Server, neighbour: bytes) -> None:
    """Also where the refusal came before the body was read."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for _ in range(3):
            for request, status, _, _ in (CLASSIFY[6], CLASSIFY[13], COMPLETIONS[0], ENDPOINTS[9]):
                method, path, options = request
                assert client.request(method, path, **options).status_code == status
                method, path, options = NEIGHBOUR
                assert client.request(method, path, **options).content == neighbour


def talk(server: Server, raw: bytes) -> bytes:
    """Send bytes, close our half, and read what comes until the server closes its own."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/completions", "/classify", "/generate"])
def test_a_body_that_is_cut_off_gets_no_answer_and_no_crash(
    server: Server, neighbour: bytes, path: str
) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    answer = talk(server, head.encode() + b"Content-Length: 1000\r\n\r\n{")
    assert b" 200 " not in answer
    assert b" 500 " not in answer
    assert send(server, NEIGHBOUR).content == neighbour


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
        b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_malformed_http_is_refused(server: Server, neighbour: bytes, raw: bytes) -> None:
    answer = talk(server, raw)
    assert not answer or b" 400 " in answer.split(b"\r\n")[0]
    assert send(server, NEIGHBOUR).content == neighbour


def test_a_chunked_body_is_bounded_as_it_comes(server: Server) -> None:
    def chunks() -> Any:
        for _ in range(100):
            yield b"x" * 10_000

    try:
        answer = httpx.post(server.url + "/v1/classify", content=chunks(), timeout=30)
    except httpx.WriteError:  # the server closed the connection while we were still sending
        return
    assert answer.status_code == 413
    assert json.loads(answer.content)["error"]["param"] == "body"
