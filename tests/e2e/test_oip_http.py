"""Triton's own client against the service: what it calls over HTTP, and what it gets."""

from __future__ import annotations

import base64
import io
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http
import tritonclient.http.aio
from PIL import Image

from service.contract import Manifest
from service.noise import normal
from service.session import Session
from service.store import Store
from tests.conformance.cases import Arrays
from tests.conftest import ROOT
from tests.e2e.oip import (
    MODELS,
    draw,
    in_json,
    infer,
    manifest_of,
    output_names,
    same,
    triton_inputs,
)
from tests.e2e.server import Server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    with tritonclient.http.InferenceServerClient(
        server.url.removeprefix("http://"), concurrency=4
    ) as client:
        yield client


@pytest.fixture(params=MODELS)
def manifest(request: Any, store_copy: Path) -> Manifest:
    return manifest_of(store_copy, request.param)


def expected(store: Path, manifest: Manifest, arrays: Arrays) -> Arrays:
    """What onnxruntime itself makes of the published graph."""
    folder = Store(store).folder(manifest.name, manifest.version)
    return Session(folder / manifest.graph).run(arrays, output_names(manifest))


def test_the_server_says_what_it_is(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    found = client.get_server_metadata()
    assert found["name"] == "triptych"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert found["version"] == project["version"]
    assert {"binary_tensor_data", "classification", "statistics"} <= set(found["extensions"])


def test_a_model_says_what_it_is(client: Any, manifest: Manifest) -> None:
    assert client.is_model_ready(manifest.name)
    assert client.is_model_ready(manifest.name, manifest.version)
    assert not client.is_model_ready(manifest.name, "1")
    assert not client.is_model_ready("nobody")
    found = client.get_model_metadata(manifest.name)
    assert found == client.get_model_metadata(manifest.name, manifest.version)
    assert found["platform"] == "onnx_onnxv1"
    assert found["versions"] == [manifest.version]
    assert [one["name"] for one in found["inputs"]] == [spec.name for spec in manifest.inputs]
    for tensor, spec in zip(found["outputs"], manifest.outputs, strict=True):
        assert tensor["shape"] == [axis if isinstance(axis, int) else -1 for axis in spec.shape]


def test_configuration_leaves_the_batch_axis_out(client: Any, manifest: Manifest) -> None:
    metadata = client.get_model_metadata(manifest.name)
    config = client.get_model_config(manifest.name)
    assert config["max_batch_size"] > 0
    assert config["backend"] == "onnxruntime"
    for tensor, configured in zip(metadata["inputs"], config["input"], strict=True):
        assert configured["data_type"] == f"TYPE_{tensor['datatype']}"
        assert configured["dims"] == tensor["shape"][1:]
    assert [one["name"] for one in config["output"]] == output_names(manifest)


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_inference_is_the_graphs_to_the_bit(
    client: Any, store_copy: Path, manifest: Manifest, binary: bool
) -> None:
    arrays = draw(manifest)
    outputs = [
        tritonclient.http.InferRequestedOutput(name, binary_data=binary)
        for name in output_names(manifest)
    ]
    inputs = triton_inputs(tritonclient.http, manifest, arrays, binary_data=binary)
    result = client.infer(manifest.name, inputs, outputs=outputs, request_id="mine")
    assert result.get_response()["id"] == "mine"
    assert result.get_response()["model_version"] == manifest.version
    for name, array in expected(store_copy, manifest, arrays).items():
        assert same(result.as_numpy(name), array), name


def test_all_outputs_come_when_none_is_named(client: Any, manifest: Manifest) -> None:
    inputs = triton_inputs(tritonclient.http, manifest, draw(manifest))
    found = client.infer(manifest.name, inputs).get_response()["outputs"]
    assert [one["name"] for one in found] == output_names(manifest)
    assert all("binary_data_size" in one["parameters"] for one in found)


def test_inputs_in_any_order(client: Any, store_copy: Path) -> None:
    manifest = manifest_of(store_copy, "cifar10-gan")
    inputs = triton_inputs(tritonclient.http, manifest, draw(manifest))
    there = client.infer(manifest.name, inputs).as_numpy("image")
    back = client.infer(manifest.name, inputs[::-1]).as_numpy("image")
    assert same(back, there)


@pytest.mark.parametrize("sent", [None, "gzip", "deflate"])
@pytest.mark.parametrize("received", [None, "gzip", "deflate"])
def test_compression_both_ways(
    client: Any, store_copy: Path, sent: str | None, received: str | None
) -> None:
    manifest = manifest_of(store_copy, "cifar10-gan")
    arrays = draw(manifest, rows=4)
    result = client.infer(
        manifest.name,
        triton_inputs(tritonclient.http, manifest, arrays),
        request_compression_algorithm=sent,
        response_compression_algorithm=received,
    )
    assert same(result.as_numpy("image"), expected(store_copy, manifest, arrays)["image"])


def test_an_answer_is_compressed_when_asked_for(server: Server, store_copy: Path) -> None:
    manifest = manifest_of(store_copy, "cifar10-gan")
    body = in_json(manifest, draw(manifest))
    plain = infer(server, manifest.name, body, headers={"accept-encoding": "identity"})
    packed = infer(server, manifest.name, body, headers={"accept-encoding": "gzip;q=0.5, br"})
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"])
    assert packed.json() == plain.json()


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_classification(client: Any, store_copy: Path, binary: bool) -> None:
    manifest = manifest_of(store_copy, "cifar10")
    arrays = draw(manifest)
    wanted = tritonclient.http.InferRequestedOutput(
        "probability", binary_data=binary, class_count=3
    )
    inputs = triton_inputs(tritonclient.http, manifest, arrays)
    result = client.infer(manifest.name, inputs, outputs=[wanted])
    found = result.as_numpy("probability")
    assert found.shape == (3, 3)
    probability = expected(store_copy, manifest, arrays)["probability"]
    for row, elements in zip(probability, found, strict=True):
        order = np.argsort(-row, kind="stable")[:3]
        for index, element in zip(order, elements, strict=True):
            text = element.decode() if isinstance(element, bytes) else element
            value, position, label = text.split(":")
            assert (int(position), label) == (index, manifest.labels[index])
            assert float(value) == pytest.approx(row[index], abs=1e-6)


def test_more_classes_than_there_are(client: Any, store_copy: Path) -> None:
    manifest = manifest_of(store_copy, "cifar10")
    wanted = tritonclient.http.InferRequestedOutput("feature", class_count=10_000)
    inputs = triton_inputs(tritonclient.http, manifest, draw(manifest, rows=1))
    found = client.infer(manifest.name, inputs, outputs=[wanted]).as_numpy("feature")
    width = manifest.output("feature").shape[1]
    assert found.shape == (1, width)
    # These are not classes: no label.
    assert len(found[0, 0].split(b":")) == (3 if width == len(manifest.labels) else 2)


def test_nested_json(server: Server, store_copy: Path) -> None:
    manifest = manifest_of(store_copy, "cifar10")
    arrays = draw(manifest)
    body = in_json(manifest, arrays)
    flat = infer(server, manifest.name, body)
    body["inputs"][0]["data"] = arrays["image"].tolist()
    nested = infer(server, manifest.name, body)
    assert nested.status_code == flat.status_code == 200
    assert nested.json() == flat.json()
    assert "id" not in nested.json()


def test_a_tensor_alone(server: Server, store_copy: Path) -> None:
    """Triton's raw binary request: no JSON, the one input's bytes, raw outputs."""
    manifest = manifest_of(store_copy, "cifar10")
    arrays = draw(manifest, rows=2)
    headers = {"inference-header-content-length": "0"}
    path = "/v2/models/cifar10/infer"
    answer = server.post(path, content=arrays["image"].tobytes(), headers=headers)
    assert answer.status_code == 200
    length = int(answer.headers["inference-header-content-length"])
    outputs = json.loads(answer.content[:length])["outputs"]
    expectations = expected(store_copy, manifest, arrays)
    assert [one["name"] for one in outputs] == list(expectations)
    raw = b"".join(array.tobytes() for array in expectations.values())
    assert answer.content[length:] == raw


def test_nulls_and_the_models_name_in_the_body(server: Server, store_copy: Path) -> None:
    """As other makes of clients fill in what they were not given."""
    manifest = manifest_of(store_copy, "cifar10")
    body = in_json(manifest, draw(manifest), id=None, parameters=None, outputs=None)
    body |= {"model_name": manifest.name, "model_version": manifest.version}
    body["inputs"][0]["parameters"] = None
    assert infer(server, manifest.name, body).status_code == 200


def test_the_same_numbers_through_every_door(client: Any, server: Server, store_copy: Path) -> None:
    manifest = manifest_of(store_copy, "cifar10")
    arrays = draw(manifest, rows=2)
    files = []
    for picture in arrays["image"]:
        raw = io.BytesIO()
        Image.fromarray(picture).save(raw, "PNG")
        files.append(("image", raw.getvalue()))
    inputs = triton_inputs(tritonclient.http, manifest, arrays)
    probability = client.infer(manifest.name, inputs).as_numpy("probability")
    top_k = len(manifest.labels)
    answer = server.post(f"/v1/classify?top_k={top_k}", files=files).json()
    for row, prediction in zip(probability, answer["predictions"], strict=True):
        scores = {one["index"]: one["score"] for one in prediction["top"]}
        assert scores == {index: round(float(row[index]), 6) for index in range(top_k)}


def test_a_picture_is_the_same_through_every_door(
    client: Any, server: Server, store_copy: Path
) -> None:
    """The noise of a seed, sent as a tensor, draws what the seed draws."""
    manifest = manifest_of(store_copy, "cifar10-gan")
    (width,) = manifest.input("noise").shape[1:]
    assert isinstance(width, int)
    arrays: Arrays = {"noise": normal(7, 0, 1, width), "label": np.array([6])}
    inputs = triton_inputs(tritonclient.http, manifest, arrays)
    image = client.infer(manifest.name, inputs).as_numpy("image")
    asked = {"labels": [manifest.labels[6]], "n": 1, "seed": 7}
    answer = server.post("/v1/sample", json=asked, headers={"accept": "application/json"}).json()
    drawn = Image.open(io.BytesIO(base64.b64decode(answer["images"][0]["b64_json"])))
    assert same(image[0], np.asarray(drawn))


def test_a_state_carries_a_text_on(client: Any, store_copy: Path) -> None:
    """Token by token with the state handed back, or all at once."""
    manifest = manifest_of(store_copy, "shakespeare")
    arrays = draw(manifest, rows=1)
    whole = client.infer(
        manifest.name, triton_inputs(tritonclient.http, manifest, arrays)
    ).as_numpy("logits")
    state = arrays["state"]
    for position in range(arrays["token"].shape[1]):
        step: Arrays = {"token": arrays["token"][:, position : position + 1], "state": state}
        result = client.infer(manifest.name, triton_inputs(tritonclient.http, manifest, step))
        state = result.as_numpy("state_out")
        assert np.allclose(result.as_numpy("logits")[:, 0], whole[:, position], atol=1e-5)


def test_async_infer(client: Any, store_copy: Path, manifest: Manifest) -> None:
    """The pattern of Triton's simple_http_async_infer_client."""
    asked = [draw(manifest, rows=1, seed=seed) for seed in range(6)]
    pending = [
        client.async_infer(
            manifest.name, triton_inputs(tritonclient.http, manifest, arrays), request_id=str(seed)
        )
        for seed, arrays in enumerate(asked)
    ]
    for seed, (waiting, arrays) in enumerate(zip(pending, asked, strict=True)):
        result = waiting.get_result()
        assert result.get_response()["id"] == str(seed)
        name = output_names(manifest)[0]
        assert same(result.as_numpy(name), expected(store_copy, manifest, arrays)[name])


@pytest.mark.anyio
async def test_aio_client(server: Server, store_copy: Path) -> None:
    async with tritonclient.http.aio.InferenceServerClient(
        server.url.removeprefix("http://")
    ) as client:
        assert await client.is_server_ready()
        for name in MODELS:
            manifest = manifest_of(store_copy, name)
            arrays = draw(manifest)
            assert await client.is_model_ready(name)
            for encoding in (None, "gzip", "deflate"):
                result = await client.infer(
                    name,
                    triton_inputs(tritonclient.http, manifest, arrays),
                    request_compression_algorithm=encoding,
                    response_compression_algorithm=encoding,
                )
                for output, array in expected(store_copy, manifest, arrays).items():
                    assert same(result.as_numpy(output), array)


def test_strings_are_refused_by_name(client: Any, store_copy: Path) -> None:
    """The pattern of simple_http_string_infer_client: no model here reads BYTES."""
    tensor = tritonclient.http.InferInput("image", [1, 16], "BYTES")
    tensor.set_data_from_numpy(np.array([[str(i).encode() for i in range(16)]], dtype=np.object_))
    with pytest.raises(
        tritonclient.http.InferenceServerException, match="datatype must be UINT8, not BYTES"
    ):
        client.infer("cifar10", [tensor])


@pytest.mark.parametrize("options", [{"priority": 1}, {"priority": 3, "timeout": 5_000_000}])
def test_priority_and_timeout_are_taken(
    client: Any, store_copy: Path, options: dict[str, int]
) -> None:
    manifest = manifest_of(store_copy, "cifar10")
    inputs = triton_inputs(tritonclient.http, manifest, draw(manifest))
    assert client.infer("cifar10", inputs, **options).as_numpy("probability") is not None


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.update_log_settings({"log_verbose_level": 1}),
        lambda client: client.get_trace_settings(),
        lambda client: client.register_system_shared_memory("a", "/a", 64),
    ],
    ids=["logging", "trace", "shared memory"],
)
def test_what_is_not_there_says_so(client: Any, call: Any) -> None:
    with pytest.raises(tritonclient.http.InferenceServerException, match="there is no /v2/"):
        call(client)
