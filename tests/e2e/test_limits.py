"""Each limit over real sockets: what is just within it is answered, one more is not."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as over_grpc
from httpx_ws import WebSocketDisconnect, connect_ws
from tritonclient.utils import InferenceServerException

from service.http.connection import MAX_ADDRESS_BYTES, MAX_GRPC_CALLS, MAX_HEADERS, MAX_PIPELINED
from tests.e2e.server import Server, serving
from tests.pictures import bomb, picture
from tests.ports import free_port

LIMITS: dict[str, Any] = {
    "max_body_bytes": 64 * 1024, "max_answer_bytes": 4 * 3072, "max_head_bytes": 12_000,
    "max_connections": 24, "client_timeout_s": 1.5, "max_image_pixels": 10_000, "max_images": 4,
    "max_prompt_chars": 100, "max_tokens": 200, "max_choices": 4, "max_queue_rows": 8,
    "request_timeout_s": 20,
}  # fmt: skip
WAIT_S = 10.0


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def limited(
    tiny_store: Path, tmp_path_factory: pytest.TempPathFactory, port: int
) -> Iterator[Server]:
    """One worker, so that its connections can be counted."""
    home = tmp_path_factory.mktemp("limited")
    with serving(tiny_store, home, workers=1, grpc_port=port, **LIMITS) as server:
        server.wait_for("/readyz", 200)
        yield server


def dial(server: Server) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=WAIT_S)


def hear(connection: socket.socket) -> bytes:
    """All that comes until the server closes the connection, or resets it."""
    heard = b""
    try:
        while chunk := connection.recv(65_536):
            heard += chunk
    except ConnectionResetError:
        pass
    return heard


def say(server: Server, raw: bytes) -> bytes:
    with dial(server) as connection:
        connection.sendall(raw)
        return hear(connection)


def status(raw: bytes) -> int:
    return int(raw.split(b" ", 2)[1])


def message(raw: bytes) -> str:
    words: str = json.loads(raw.partition(b"\r\n\r\n")[2])["error"]["message"]
    return words


# --- what a request may hold ----------------------------------------------------------------


def completion(**fields: Any) -> dict[str, Any]:
    return {"path": "/v1/completions", "json": {"prompt": "a", "max_tokens": 1} | fields}


def classify(**options: Any) -> dict[str, Any]:
    return {"path": "/v1/classify"} | options


def draw(rows: int) -> dict[str, Any]:
    noise = {"name": "noise", "shape": [rows, 8], "datatype": "FP32", "data": [0] * 8 * rows}
    label = {"name": "label", "shape": [rows], "datatype": "INT64", "data": [0] * rows}
    return {"path": "/v2/models/cifar10-gan/infer", "json": {
        "inputs": [noise, label], "parameters": {"binary_data_output": True},
    }}  # fmt: skip


def infer(rows: int) -> dict[str, Any]:
    shape, data = [rows, 32, 32, 3], [0] * (rows * 3072)
    image = {"name": "image", "shape": shape, "datatype": "UINT8", "data": data}
    body = json.dumps({"inputs": [image], "outputs": [{"name": "probability"}]})
    return {
        "path": "/v2/models/cifar10/infer",
        "content": body.replace(", ", ","),
    }


def padded(size: int) -> bytes:
    return json.dumps({"prompt": "a", "max_tokens": 1}).encode().ljust(size)


def form(files: int, fields: int = 0) -> dict[str, Any]:
    parts = [("images", ("a.png", picture()))] * files
    return classify(files=parts + [(f"f{i}", (None, "x")) for i in range(fields)])


IMAGE = ("images", ("a.png", picture()))
PER_REQUEST = {
    "body": (
        {"path": "/v1/completions", "content": padded(LIMITS["max_body_bytes"])},
        {"path": "/v1/completions", "content": padded(LIMITS["max_body_bytes"] + 1)}, 413, "body",
    ),
    "pixels": (
        classify(content=picture(size=(100, 100))), classify(content=bomb(73, 137)), 413, "image",
    ),
    "images": (form(4), form(5), 413, "files"),
    "drawn": (
        {"path": "/v1/sample", "json": {"n": 4}}, {"path": "/v1/sample", "json": {"n": 5}},
        413, "n",
    ),
    "prompt": (completion(prompt="a" * 100), completion(prompt="a" * 101), 413, "prompt"),
    "tokens": (completion(max_tokens=200), completion(max_tokens=201), 413, "max_tokens"),
    "choices": (completion(n=4), completion(n=5), 413, "n"),
    "prompts": (completion(prompt=["a"] * 4), completion(prompt=["a"] * 5), 413, "n"),
    "rows": (infer(8), infer(9), 413, None),
    "answer": (draw(4), draw(5), 413, None),
    "stops": (completion(stop=["b"] * 4), completion(stop=["b"] * 5), 400, "stop"),
}  # fmt: skip


@pytest.mark.parametrize("limit", PER_REQUEST)
def test_a_request_within_a_limit_and_one_more(limited: Server, limit: str) -> None:
    within, beyond, refused, field = PER_REQUEST[limit]
    answer = limited.post(**within)
    assert answer.status_code == 200, answer.text
    answer = limited.post(**beyond)
    assert answer.status_code == refused, answer.text
    if field is not None:
        assert answer.json()["error"]["param"] == field


@pytest.mark.parametrize(("depth", "words"), [(500, "unknown field"), (50_000, "not valid JSON")])
def test_json_may_be_deep_only_so_far(limited: Server, depth: int, words: str) -> None:
    name = "x" if depth == 500 else "prompt"
    deep = f'{{"prompt": "a", "{name}": {"[" * depth}'
    answer = limited.post("/v1/completions", content=deep + "]" * min(depth, 500) + "}")
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


@pytest.mark.parametrize(("fields", "words"), [(64, "text field"), (65, "Too many fields")])
def test_a_form_has_so_many_parts(limited: Server, fields: int, words: str) -> None:
    answer = limited.post(**form(1, fields))
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


def test_a_websockets_message_is_bounded(limited: Server) -> None:
    most = LIMITS["max_body_bytes"]
    with connect_ws(f"{limited.url}/v1/completions/stream") as client:
        client.send_text(padded(most).decode())
        while "done" not in client.receive_json():
            pass
        client.send_text(padded(most + 1).decode())
        assert "larger" in client.receive_json()["error"]["message"]
        client.send_text(padded(2 * most + 1).decode())
        with pytest.raises(WebSocketDisconnect) as closed:
            client.receive_text(timeout=WAIT_S)
        assert closed.value.code == 1009


def test_a_grpc_message_is_bounded(limited: Server, port: int) -> None:
    with over_grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
        for rows, refused in ((8, None), (9, "limit is 8"), (30, "larger than max")):
            image = over_grpc.InferInput("image", [rows, 32, 32, 3], "UINT8")
            image.set_data_from_numpy(np.zeros((rows, 32, 32, 3), np.uint8))
            if refused is None:
                client.infer("cifar10", [image])
                continue
            with pytest.raises(InferenceServerException, match=refused):
                client.infer("cifar10", [image])


def test_grpc_metadata_is_bounded(limited: Server, port: int) -> None:
    with over_grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
        client.get_server_metadata(headers={"x": "a" * (LIMITS["max_head_bytes"] - 1000)})
        with pytest.raises(InferenceServerException) as refused:
            client.get_server_metadata(headers={"x": "a" * (LIMITS["max_head_bytes"] + 1)})
        assert refused.value.status() == "StatusCode.RESOURCE_EXHAUSTED"


def test_a_grpc_connection_says_how_much_it_takes(limited: Server, port: int) -> None:
    """In the first frame of HTTP/2 (RFC 9113, section 6.5): the peer must heed it."""
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        head = connection.recv(9, socket.MSG_WAITALL)
        length, kind = int.from_bytes(head[:3], "big"), head[3]
        assert kind == 4
        raw = connection.recv(length, socket.MSG_WAITALL)
    settings = dict(struct.iter_unpack(">HI", raw))
    assert settings[3] == MAX_GRPC_CALLS


# --- heads ----------------------------------------------------------------------------------


def head(size: int, *, address: str = "/livez") -> bytes:
    """A request of exactly so many bytes, which asks to close the connection."""
    begin = f"GET {address} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx: "
    return begin.encode() + b"a" * (size - len(begin) - 4) + b"\r\n\r\n"


@pytest.mark.parametrize("pieces", [1, 3])
def test_a_head_is_bounded(limited: Server, pieces: int) -> None:
    most = LIMITS["max_head_bytes"]
    for size, wanted in ((most, 200), (most + 1, 431)):
        raw = head(size)
        step = len(raw) // pieces + 1
        with dial(limited) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(0, len(raw), step):
                connection.sendall(raw[at : at + step])
                time.sleep(0.1 if pieces > 1 else 0)
            answer = hear(connection)
        assert status(answer) == wanted, answer
    assert f"{most} bytes" in message(answer)


def test_a_head_without_end_is_cut_off(limited: Server) -> None:
    """It must be refused once it is too long, not kept until it ends."""
    with dial(limited) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nx: ")
        sent = 0
        try:
            while sent < 64 * 2**20:
                connection.sendall(b"a" * 65_536)
                sent += 65_536
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert sent < 16 * 2**20, "what lies in the buffers of both ends, and no more"


def test_a_large_body_in_one_piece_with_its_head_is_no_large_head(limited: Server) -> None:
    body = padded(60_000)
    raw = (
        b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(body), body)
    )
    assert status(say(limited, raw)) == 200


def test_headers_are_counted(limited: Server) -> None:
    for count, wanted in ((MAX_HEADERS, 200), (MAX_HEADERS + 1, 431)):
        more = b"".join(b"x%d: a\r\n" % at for at in range(count - 2))
        raw = b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + more + b"\r\n"
        answer = say(limited, raw)
        assert status(answer) == wanted, answer
    assert f"{MAX_HEADERS} headers" in message(answer)


def test_an_address_is_bounded(limited: Server) -> None:
    for size, wanted in ((MAX_ADDRESS_BYTES, 200), (MAX_ADDRESS_BYTES + 1, 414)):
        address = "/livez?" + "a" * (size - 7)
        raw = f"GET {address} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()
        answer = say(limited, raw)
        assert status(answer) == wanted, answer[:200]
    assert f"{MAX_ADDRESS_BYTES} bytes" in message(answer)


def test_pipelined_requests_are_counted(limited: Server) -> None:
    one = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
    last = b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    assert say(limited, one * MAX_PIPELINED + last).count(b" 200 OK") == MAX_PIPELINED + 1
    assert say(limited, one * (MAX_PIPELINED + 1) + last).count(b" 200 OK") <= 1


# --- time -----------------------------------------------------------------------------------


def trickle(server: Server, begin: bytes) -> tuple[bytes, float]:
    """Send the beginning, then a byte now and then; what is answered, and after how long."""
    with dial(server) as connection:
        connection.sendall(begin)
        begin_s = time.monotonic()
        connection.settimeout(0.2)
        answer = b""
        while time.monotonic() - begin_s < WAIT_S:
            try:
                chunk = connection.recv(65_536)
            except TimeoutError:
                connection.sendall(b"a")
                continue
            except ConnectionResetError:
                break
            if not chunk:
                break
            answer += chunk
        return answer, time.monotonic() - begin_s


@pytest.mark.parametrize(
    "begin",
    [
        b"GET /livez HTT",
        b"GET /livez HTTP/1.1\r\nhost: x\r\nx: ",
        b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{",
        b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n",
        b"POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{",
        b"POST /v2/models/cifar10/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{",
    ],
)
def test_a_request_that_trickles_is_cut_off(limited: Server, begin: bytes) -> None:
    answer, took_s = trickle(limited, begin)
    if begin.endswith(b"HTT"):  # the trickle makes that malformed
        assert status(answer) == 400
        return
    assert status(answer) == 408
    assert "1.5 s" in message(answer)
    assert took_s >= LIMITS["client_timeout_s"] - 0.1


def test_a_second_request_that_trickles_is_cut_off_too(limited: Server) -> None:
    with dial(limited) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        time.sleep(0.3)
        assert status(connection.recv(65_536)) == 200
        connection.sendall(b"GET /livez HTTP/1.1\r\nho")
        assert status(hear(connection)) == 408


def test_what_follows_a_refusal_may_not_trickle_for_ever(limited: Server) -> None:
    """The answer comes before the body, which never ends."""
    large = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n"
    answer, _ = trickle(limited, large)
    assert status(answer) == 413
    assert answer.count(b"HTTP/1.1") == 1


def test_who_connects_and_says_nothing_is_cut_off(limited: Server) -> None:
    with dial(limited) as connection:
        assert hear(connection) == b""


def test_who_is_slow_and_steady_enough_is_answered(limited: Server) -> None:
    with dial(limited) as connection:
        for piece in (b"GET /livez", b" HTTP/1.1\r\nhost: x\r\n", b"connection: close\r\n\r\n"):
            connection.sendall(piece)
            time.sleep(0.2)
        assert status(hear(connection)) == 200


def test_an_idle_websocket_and_a_long_answer_are_not_slow(limited: Server) -> None:
    with connect_ws(f"{limited.url}/v1/completions/stream") as client:
        time.sleep(2 * LIMITS["client_timeout_s"])
        client.send_json({"prompt": "a", "max_tokens": 1})
        assert "choices" in client.receive_json()
    with httpx.Client(base_url=limited.url, timeout=WAIT_S) as kept:
        assert kept.get("/livez").status_code == 200
        time.sleep(2 * LIMITS["client_timeout_s"])  # keep-alive has a limit of its own
        assert kept.get("/livez").status_code == 200


def test_who_takes_nothing_of_an_answer_is_cut_off(limited: Server) -> None:
    """Its connection, and what it keeps in memory, must go."""
    host, port = limited.url.removeprefix("http://").split(":")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((host, int(port)))
        request = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n"
        connection.settimeout(WAIT_S)
        end_s = time.monotonic() + WAIT_S
        try:
            while time.monotonic() < end_s:
                connection.sendall(request)  # until the server's answers have no room
                time.sleep(0.005)
        except (ConnectionResetError, BrokenPipeError):
            return
        raise AssertionError("it was let stay")


# --- connections ----------------------------------------------------------------------------


def test_one_connection_too_many_is_refused(limited: Server) -> None:
    """Each is in the midst of a request, so that none is idle."""
    busy = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"
    with ExitStack() as stack:
        for _ in range(LIMITS["max_connections"]):
            connection = stack.enter_context(dial(limited))
            connection.sendall(busy)
        time.sleep(0.3)
        answer = hear(stack.enter_context(dial(limited)))
        assert status(answer) == 503
        assert "connections" in message(answer)
    assert limited.wait_for("/livez", 200)


def test_an_idle_connection_makes_room(limited: Server) -> None:
    """So that probes get through while clients keep their connections open."""
    with ExitStack() as stack:
        kept = []
        for _ in range(LIMITS["max_connections"]):
            connection = stack.enter_context(dial(limited))
            connection.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
            assert status(connection.recv(65_536)) == 200
            kept.append(connection)
        assert [limited.get("/livez").status_code for _ in range(3)] == [200] * 3
