"""What clients of the Open Inference Protocol get wrong, and how they are told."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.contract import Manifest
from tests.e2e.oip import draw, in_json, infer, manifest_of
from tests.e2e.server import Server

Change = Callable[[dict[str, Any]], object]


def refused(answer: httpx.Response, status: int, piece: str) -> None:
    """An error in this protocol's words: one key, one message that says what to change."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert list(body) == ["error"]
    assert piece in body["error"]


def image(body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = body["inputs"][0]
    return found


CNN: list[tuple[str, Change, int, str]] = [
    ("no inputs", lambda b: b.update(inputs=[]), 400, "input image is missing"),
    ("unknown input", lambda b: image(b).update(name="pixels"), 400, "there is image"),
    ("twice", lambda b: b["inputs"].append(b["inputs"][0]), 400, "image is there twice"),
    ("datatype", lambda b: image(b).update(datatype="FP32"), 400, "must be UINT8, not FP32"),
    ("rank", lambda b: image(b).update(shape=[2, 3072]), 400, "where -1 is any size"),
    ("fixed axis", lambda b: image(b)["shape"].__setitem__(1, 31), 400, "is not [-1, "),
    ("zero rows", lambda b: image(b)["shape"].__setitem__(0, 0), 400, "an axis below 1"),
    ("negative", lambda b: image(b)["shape"].__setitem__(0, -1), 400, "inputs[0].shape"),
    ("huge shape", lambda b: image(b)["shape"].__setitem__(0, 2**31 - 1), 413, "rows"),
    ("many rows", lambda b: image(b)["shape"].__setitem__(0, 1025), 413, "the limit is 1024"),
    ("short", lambda b: image(b)["data"].pop(), 400, "elements; shape"),
    ("long", lambda b: image(b)["data"].append(0), 400, "elements; shape"),
    ("no data", lambda b: image(b).pop("data"), 400, "data is missing"),
    ("data null", lambda b: image(b).update(data=None), 400, "flat list"),
    ("data text", lambda b: image(b).update(data="AAAA"), 400, "flat list"),
    ("too deep", lambda b: image(b).update(data=[[[[[1]]]]]), 400, "nested 4 deep"),
    ("uneven", lambda b: image(b).update(data=[[[[1, 2], [1]]]]), 400, "unevenly"),
    ("nested otherwise", lambda b: image(b).update(data=[[[[1]]]]), 400, "is nested as [1, 1, 1"),
    ("beyond uint8", lambda b: image(b)["data"].__setitem__(5, 256), 400, "<= 255"),
    ("below uint8", lambda b: image(b)["data"].__setitem__(5, -1), 400, ">= 0"),
    ("a float", lambda b: image(b)["data"].__setitem__(5, 1.5), 400, "got `float`"),
    ("a truth", lambda b: image(b)["data"].__setitem__(5, True), 400, "got `bool`"),
    ("a text", lambda b: image(b)["data"].__setitem__(5, "1"), 400, "got `str`"),
    ("unknown output", lambda b: b.update(outputs=[{"name": "p"}]), 400, "there is probability"),
    (
        "output twice",
        lambda b: b.update(outputs=[{"name": "probability"}] * 2),
        400,
        "asked for twice",
    ),
    (
        "classes of a map",
        lambda b: b.update(outputs=[{"name": "heatmap", "parameters": {"classification": 1}}]),
        400,
        "has 3 axes",
    ),
    (
        "classes below 0",
        lambda b: b.update(outputs=[{"name": "probability", "parameters": {"classification": -1}}]),
        400,
        "classification must be",
    ),
    (
        "binary_data",
        lambda b: b.update(outputs=[{"name": "probability", "parameters": {"binary_data": 1}}]),
        400,
        "true or false",
    ),
    ("sequence", lambda b: b.update(parameters={"sequence_id": 7}), 400, "keeps a state"),
    ("priority", lambda b: b.update(parameters={"priority": 9}), 400, "from 0 to 3"),
    ("timeout", lambda b: b.update(parameters={"timeout": -1}), 400, "timeout must be"),
    ("timeout text", lambda b: b.update(parameters={"timeout": "1"}), 400, "timeout must be"),
    ("parameter", lambda b: b.update(parameters={"prioritty": 1}), 400, "there is priority"),
    (
        "shared memory",
        lambda b: image(b).update(parameters={"shared_memory_region": "r"}),
        400,
        "shared memory is not supported",
    ),
    (
        "binary without header",
        lambda b: image(b).update(parameters={"binary_data_size": 3072}),
        400,
        "Inference-Header-Content-Length",
    ),
    ("another model", lambda b: b.update(model_name="x"), 400, "the address names cifar10"),
    ("another version", lambda b: b.update(model_version="1"), 400, "the address names"),
    ("unknown key", lambda b: b.update(output=[]), 400, "unknown field `output`"),
    ("id", lambda b: b.update(id=7), 400, "id: Expected `str"),
]


@pytest.fixture(scope="module")
def cnn(store_copy: Path) -> Manifest:
    return manifest_of(store_copy, "cifar10")


@pytest.mark.parametrize(("change", "status", "piece"), [case[1:] for case in CNN],
                         ids=[case[0] for case in CNN])  # fmt: skip
def test_a_wrong_request(
    server: Server, cnn: Manifest, change: Change, status: int, piece: str
) -> None:
    body = in_json(cnn, draw(cnn, rows=2))
    change(body)
    refused(infer(server, "cifar10", body), status, piece)


@pytest.mark.parametrize(
    ("model", "tensor", "value", "piece"),
    [
        ("shakespeare", "token", "V", "above the maximum"),
        ("shakespeare", "token", -1, "below the minimum of 0"),
        ("shakespeare", "token", 2**63, "<= 9223372036854775807"),
        ("shakespeare", "state", 1e39, "not finite"),
        ("cifar10-gan", "label", 10, "10 is above the maximum of 9"),
        ("cifar10-gan", "noise", -1e300, "not finite"),
        ("cifar10-gan", "noise", None, "got `null`"),
    ],
)
def test_a_number_out_of_range(
    server: Server, store_copy: Path, model: str, tensor: str, value: object, piece: str
) -> None:
    manifest = manifest_of(store_copy, model)
    body = in_json(manifest, draw(manifest))
    sent = next(one for one in body["inputs"] if one["name"] == tensor)
    sent["data"][-1] = len(manifest.vocabulary) if value == "V" else value
    refused(infer(server, model, body), 400, piece)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_json_has_not(server: Server, store_copy: Path, number: str) -> None:
    manifest = manifest_of(store_copy, "cifar10-gan")
    body = json.dumps(in_json(manifest, draw(manifest, rows=1)) | {"id": "NUMBER"})
    body = body.replace('"data": [', f'"data": [{number}, ', 1)
    answer = server.post("/v2/models/cifar10-gan/infer", content=body)
    refused(answer, 400, "range" if number == "1e999" else "not valid JSON")


def test_inputs_of_different_lengths(server: Server, store_copy: Path) -> None:
    manifest = manifest_of(store_copy, "cifar10-gan")
    arrays = draw(manifest, rows=3)
    arrays["label"] = arrays["label"][:2]
    refused(infer(server, manifest.name, in_json(manifest, arrays)), 400, "axis N is 2 long, but 3")


def test_more_tokens_than_the_limit(server: Server, store_copy: Path) -> None:
    manifest = manifest_of(store_copy, "shakespeare")
    arrays = draw(manifest, rows=1)
    arrays["token"] = np.zeros((1, 2001), dtype=np.int64)
    refused(infer(server, manifest.name, in_json(manifest, arrays)), 413, "the limit is 2000")


def test_an_answer_that_would_be_too_large(server: Server, store_copy: Path) -> None:
    """A few tokens make many logits: refused before any of them is computed."""
    manifest = manifest_of(store_copy, "shakespeare")
    vocabulary, rows = len(manifest.vocabulary), 40
    arrays = draw(manifest, rows=rows)
    arrays["token"] = np.zeros((rows, 2000), dtype=np.int64)
    assert 16 * rows * 2000 * vocabulary > 2**26
    body = in_json(manifest, arrays, outputs=[{"name": "logits"}])
    answer = infer(server, manifest.name, body)
    refused(answer, 413, "ask for fewer rows or outputs, or for binary_data")


def raw_request(manifest: Manifest, rows: int = 2, **change: Any) -> tuple[bytes, dict[str, str]]:
    """A request with its picture behind the JSON: body and headers."""
    data = draw(manifest, rows)["image"].tobytes()
    sent: dict[str, Any] = {
        "name": "image",
        "datatype": "UINT8",
        "shape": [rows, *manifest.input("image").shape[1:]],
        "parameters": {"binary_data_size": len(data)},
    }
    head = json.dumps({"inputs": [sent | change]}).encode()
    return head + data, {"inference-header-content-length": str(len(head))}


def test_raw_tensors(server: Server, cnn: Manifest) -> None:
    body, headers = raw_request(cnn)
    path = "/v2/models/cifar10/infer"
    assert server.post(path, content=body, headers=headers).status_code == 200
    wrong = {"inference-header-content-length": str(len(body) + 1)}
    refused(server.post(path, content=body, headers=wrong), 400, "up to the body's")
    wrong = {"inference-header-content-length": "-1"}
    refused(server.post(path, content=body, headers=wrong), 400, "must be a number")
    refused(server.post(path, content=body), 400, "not valid JSON")
    refused(server.post(path, content=body[:-1], headers=headers), 400, "bytes are left")
    refused(server.post(path, content=body + b"x", headers=headers), 400, "1 bytes follow")


@pytest.mark.parametrize(
    ("model", "content", "piece"),
    [
        ("cifar10", bytes(7), "7 bytes are not rows of shape"),
        ("cifar10", b"", "0 bytes are not rows of shape"),
        ("cifar10-gan", bytes(8), "has noise, label"),
    ],
)
def test_a_tensor_alone_that_does_not_fit(
    server: Server, model: str, content: bytes, piece: str
) -> None:
    headers = {"inference-header-content-length": "0"}
    answer = server.post(f"/v2/models/{model}/infer", content=content, headers=headers)
    refused(answer, 400, piece)


@pytest.mark.parametrize(
    ("change", "piece"),
    [
        ({"parameters": {"binary_data_size": 5}}, "bytes follow the last tensor"),
        ({"parameters": {"binary_data_size": -5}}, "must be a whole number"),
        ({"parameters": {"binary_data_size": True}}, "must be a whole number"),
        ({"data": [1]}, "there twice"),
        ({"shape": [1, 1, 1, 3]}, "where -1 is any size"),
        ({"shape": "all"}, "Expected `array`"),
    ],
)
def test_raw_tensors_that_do_not_fit(
    server: Server, cnn: Manifest, change: dict[str, Any], piece: str
) -> None:
    body, headers = raw_request(cnn, **change)
    answer = server.post("/v2/models/cifar10/infer", content=body, headers=headers)
    refused(answer, 400, piece)


def test_raw_tensors_of_another_size(server: Server, cnn: Manifest) -> None:
    shape = [3, *cnn.input("image").shape[1:]]
    body, headers = raw_request(cnn, rows=2, shape=shape)
    answer = server.post("/v2/models/cifar10/infer", content=body, headers=headers)
    refused(answer, 400, f"shape {shape} of UINT8 has")


@pytest.mark.parametrize(
    ("content", "headers", "status", "piece"),
    [
        (b"", {}, 400, "not valid JSON"),
        (b"{", {}, 400, "not valid JSON"),
        (b"[]", {}, 400, "Expected `object`"),
        (b"\xff\xfe", {}, 400, "not valid JSON"),
        (b"[" * 200_000, {}, 400, ""),
        (b"x" * 300_000, {}, 413, "262144 bytes"),
        (b"not gzip", {"content-encoding": "gzip"}, 400, "not gzip"),
        (gzip.compress(b"{}")[:-4], {"content-encoding": "gzip"}, 400, "cut off"),
        (gzip.compress(b"{}") + b"x", {"content-encoding": "gzip"}, 400, "follow the gzip"),
        (gzip.compress(bytes(10**8)), {"content-encoding": "gzip"}, 413, "inflates beyond"),
        (zlib.compress(bytes(10**8)), {"content-encoding": "deflate"}, 413, "inflates beyond"),
        (b"{}", {"content-encoding": "br"}, 415, "gzip or deflate"),
    ],
    ids=["empty", "cut", "list", "not utf-8", "deep", "large", "not gzip", "gzip cut",
         "gzip more", "gzip bomb", "deflate bomb", "br"],
)  # fmt: skip
def test_a_wrong_body(
    server: Server, content: bytes, headers: dict[str, str], status: int, piece: str
) -> None:
    answer = server.post("/v2/models/cifar10/infer", content=content, headers=headers)
    refused(answer, status, piece)


@pytest.mark.parametrize(
    ("method", "path", "status", "piece"),
    [
        ("GET", "/v2/models/nobody", 404, "there is: cifar10"),
        ("GET", "/v2/models/nobody/ready", 404, "no model called 'nobody'"),
        ("GET", "/v2/models/cifar10/versions/1", 404, "not '1'"),
        ("GET", "/v2/models/cifar10/versions/1/ready", 404, "serves version"),
        ("GET", "/v2/models/nobody/config", 404, "nobody"),
        ("GET", "/v2/models/nobody/stats", 404, "nobody"),
        ("POST", "/v2/models/nobody/infer", 404, "nobody"),
        ("POST", "/v2/models/cifar10/versions/1/infer", 404, "serves version"),
        ("POST", "/v2/models/nobody/generate", 404, "nobody"),
        ("GET", "/v2/models/cifar10/infer", 405, "it takes POST"),
        ("POST", "/v2/models/cifar10", 405, "it takes GET"),
        ("DELETE", "/v2", 405, "it takes GET"),
        ("GET", "/v2/", 404, "there is no /v2/"),
        ("GET", "/v2/models", 404, "there is no /v2/models"),
        ("POST", "/v2/nowhere", 404, "there is no"),
        ("POST", "/v2/repository/models/cifar10/load", 403, "TRIPTYCH_MODEL_CONTROL"),
        ("POST", "/v2/repository/models/cifar10/unload", 403, "TRIPTYCH_MODEL_CONTROL"),
    ],
)
def test_a_wrong_address(server: Server, method: str, path: str, status: int, piece: str) -> None:
    refused(httpx.request(method, server.url + path, timeout=30), status, piece)


def test_refusals_are_counted_as_such(server: Server) -> None:
    def counted(outcome: str) -> float:
        series = f'triptych_requests_total{{model="",outcome="{outcome}",route="oip"}} '
        return float(server.get("/metrics").text.partition(series)[2].partition("\n")[0] or 0)

    before = counted("invalid")
    for path in ("/v2/nowhere", "/v2/models/cifar10/infer"):
        assert server.get(path).status_code in (404, 405)
    assert counted("invalid") == before + 2
    assert counted("ok") == 0


@pytest.mark.parametrize(
    ("body", "status", "piece"),
    [
        ({}, 400, "text_input"),
        ({"text_input": 7}, 400, "text_input: Expected `str`"),
        ({"text_input": "a", "parameters": {"max_token": 3}}, 400, "max_token"),
        ({"text_input": "a", "parameters": {"max_tokens": -1}}, 400, "max_tokens"),
        ({"text_input": "a", "parameters": {"max_tokens": 1001}}, 413, "limit is 1000"),
        ({"text_input": "a", "parameters": {"temperature": 9}}, 400, "temperature"),
        ({"text_input": "a", "parameters": {"stream": True}}, 400, "generate_stream"),
        ({"text_input": "a", "max_tokens": "3"}, 400, "max_tokens: Expected"),
        ({"text_input": "a", "bad_words": ""}, 400, "bad_words"),
    ],
)
def test_a_wrong_text(server: Server, body: dict[str, Any], status: int, piece: str) -> None:
    refused(server.post("/v2/models/shakespeare/generate", json=body), status, piece)


def test_a_model_that_writes_nothing(server: Server) -> None:
    answer = server.post("/v2/models/cifar10/generate_stream", json={"text_input": "a"})
    refused(answer, 400, "does not write text")


@pytest.mark.parametrize(
    "options",
    [{"headers": {"x-request-timeout-ms": "1"}}, {"parameters": {"timeout": 1}}],
    ids=["header", "parameter"],
)
def test_a_deadline(server: Server, store_copy: Path, options: dict[str, Any]) -> None:
    manifest = manifest_of(store_copy, "shakespeare")
    arrays = draw(manifest, rows=16)
    arrays["token"] = np.zeros((16, 1000), dtype=np.int64)
    state = {"name": "state_out", "parameters": {"binary_data": True}}
    more = {"outputs": [state], "parameters": options.get("parameters", {})}
    body = in_json(manifest, arrays, **more)
    answer = infer(server, manifest.name, body, headers=options.get("headers", {}))
    refused(answer, 504, "no answer within")


def test_bad_requests_do_not_touch_their_neighbours(server: Server, cnn: Manifest) -> None:
    good = in_json(cnn, draw(cnn, rows=1))
    bad = in_json(cnn, draw(cnn, rows=1))
    bad["inputs"][0]["data"][0] = 999
    alone = infer(server, "cifar10", good).json()
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda turn: infer(server, "cifar10", bad if turn % 2 else good), range(40))
        )
    assert all(answer.status_code == 400 for answer in answers[1::2])
    assert all(answer.json() == alone for answer in answers[::2])
