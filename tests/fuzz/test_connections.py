"""Malformed messages over a WebSocket and over gRPC: refused, and the connection goes on."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx_ws
import pytest
from tritonclient.grpc import service_pb2

from tests.e2e.conftest import LIMITS
from tests.e2e.oip import draw, manifest_of, triton_inputs
from tests.e2e.server import Server, serving
from tests.fuzz import CASES
from tests.fuzz.bombard import GROWTH_MIB, workers
from tests.fuzz.damage import damaged
from tests.fuzz.malformed import malformed_json
from tests.fuzz.test_bodies import COMPLETION
from tests.ports import free_port

tritonclient_grpc = pytest.importorskip("tritonclient.grpc")
METHOD = "/inference.GRPCInferenceService/"
STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.FAILED_PRECONDITION,
}  # fmt: skip


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def own(tiny_store: Path, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    store = Path(shutil.copytree(tiny_store, tmp_path_factory.mktemp("fuzzed") / "store"))
    options = LIMITS | {"workers": 1, "grpc_port": port}
    with serving(store, tmp_path_factory.mktemp("home"), **options) as running:
        running.wait_for("/readyz", 200)
        yield running


def hear(socket: httpx_ws.WebSocketSession) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(socket.receive_text(timeout=30))
    return found


def test_websocket(own: Server) -> None:
    """Every message is answered, on the same connection, by its chunks or by an error."""
    url = own.url + "/v1/completions/stream"
    ends: Counter[str] = Counter()
    asked = {name: value for name, value in COMPLETION.items() if name != "stream"}
    before: dict[int, int] = {}
    with httpx_ws.connect_ws(url) as socket:
        for seed in range(CASES):
            message = malformed_json(asked, seed)
            if seed % 10 == 0:
                socket.send_bytes(message)
            else:
                socket.send_text(message.decode("utf-8", "replace"))
            said = hear(socket)
            while "choices" in said:
                said = hear(socket)
            ends["error" if "error" in said else "done"] += 1
            if "error" in said:
                assert said["error"]["message"].strip()
                assert said["error"]["type"] == "invalid_request_error", (seed, message, said)
            if seed == CASES // 5:
                before = workers(own)
    assert ends.total() == CASES
    assert ends["error"] > ends["done"] > 0
    after = workers(own)
    assert set(after) == set(before)
    assert max(after[pid] - before[pid] for pid in before) < GROWTH_MIB * 2**20


def altered(request: bytes, seed: int) -> bytes:
    """A message of the protocol's own shape with odd contents, or bytes that are no message."""
    draw_ = random.Random(seed)
    if draw_.random() < 0.3:
        return damaged(request, seed)
    message = service_pb2.ModelInferRequest.FromString(request)
    tensor = draw_.choice(message.inputs)
    way = draw_.randrange(8)
    if way == 0:
        tensor.datatype = draw_.choice(("", "FP64", "BYTES", "BOOL", "uint8", "X" * 999))
    elif way == 1:
        del tensor.shape[:]
        tensor.shape.extend(
            draw_.choice(([], [0], [-1, 1], [2**62, 2**62], [1] * 500, [2**31, 2, 2, 3]))
        )
    elif way == 2:
        message.raw_input_contents.append(draw_.randbytes(draw_.randrange(64)))
    elif way == 3:
        del message.raw_input_contents[:]
        tensor.contents.int_contents.extend(draw_.choices(range(-300, 300), k=6))
    elif way == 4:
        tensor.name = draw_.choice(("", "pixels", "\0", "é" * 300))
    elif way == 5:
        message.parameters[draw_.choice(("priority", "timeout", "sequence_id", "", "x"))].CopyFrom(
            service_pb2.InferParameter(int64_param=draw_.choice((-1, -(2**63), 2**62)))
        )
    elif way == 6:
        message.outputs.add(name=draw_.choice(("", "nothing", "probability", "probability")))
        message.outputs[-1].parameters["classification"].int64_param = draw_.choice((-1, 0, 2**40))
    else:
        message.model_name = draw_.choice(("", "nobody", "../cifar10", "shakespeare", "ä"))
    raw: bytes = message.SerializeToString()
    return raw


@pytest.mark.parametrize("model", ["cifar10", "shakespeare", "cifar10-gan"])
def test_grpc(own: Server, port: int, tiny_store: Path, model: str) -> None:
    manifest = manifest_of(tiny_store, model)
    inputs = triton_inputs(tritonclient_grpc, manifest, draw(manifest, rows=2))
    message = service_pb2.ModelInferRequest(model_name=model)
    for one in inputs:
        message.inputs.append(one._get_tensor())
        message.raw_input_contents.append(one._get_content())
    whole: bytes = message.SerializeToString()
    before: dict[int, int] = {}
    codes: Counter[str] = Counter()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        infer = channel.unary_unary(METHOD + "ModelInfer")  # bytes as they are, there and back
        answer = infer(whole, timeout=30)
        for seed in range(CASES):
            body = altered(whole, seed)
            try:
                infer(body, timeout=30)
                codes["OK"] += 1
            except grpc.RpcError as refused:
                codes[refused.code().name] += 1
                assert refused.code() in STATUSES, (seed, body, refused.details())
                assert refused.details()
            if seed == CASES // 5:
                before = workers(own)
        assert infer(whole, timeout=30) == answer
    assert codes.total() == CASES
    assert codes["INVALID_ARGUMENT"] > 0, codes
    after = workers(own)
    assert set(after) == set(before)
    assert max(after[pid] - before[pid] for pid in before) < GROWTH_MIB * 2**20
