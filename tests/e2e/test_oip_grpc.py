"""Triton's own client against the service over gRPC, two workers behind one port."""

from __future__ import annotations

import asyncio
import queue
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from service.contract import Manifest
from service.store import Store
from tests.conftest import ROOT
from tests.e2e.conftest import LIMITS
from tests.e2e.oip import MODELS, draw, manifest_of, output_names, same, triton_inputs
from tests.e2e.server import Server, environment, failed_start, serving
from tests.ports import free_port

Refused = tritonclient.grpc.InferenceServerException
PROTO = "service/oip/grpc_service.proto"


@pytest.fixture(scope="module")
def own_store(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(tiny_store, tmp_path_factory.mktemp("grpc") / "store"))


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def both(own_store: Path, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two workers that answer over HTTP and gRPC."""
    options = LIMITS | {"grpc_port": port, "model_control": True}
    with serving(own_store, tmp_path_factory.mktemp("home"), **options) as running:
        running.wait_for("/v2/health/ready", 200)
        yield running


@pytest.fixture
def address(both: Server, port: int) -> str:
    return f"127.0.0.1:{port}"


@pytest.fixture
def client(address: str) -> Iterator[Any]:
    with tritonclient.grpc.InferenceServerClient(address) as client:
        yield client


@pytest.fixture
def stub(address: str) -> Iterator[Any]:
    """The calls themselves, for requests that Triton's client would not make."""
    with grpc.insecure_channel(address) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


@pytest.fixture(params=MODELS)
def manifest(request: Any, own_store: Path) -> Manifest:
    return manifest_of(own_store, request.param)


def over_http(server: Server, manifest: Manifest, arrays: Any) -> dict[str, Any]:
    with tritonclient.http.InferenceServerClient(server.url.removeprefix("http://")) as client:
        inputs = triton_inputs(tritonclient.http, manifest, arrays)
        result = client.infer(manifest.name, inputs)
        return {name: result.as_numpy(name) for name in output_names(manifest)}


def test_the_server_says_what_it_is(client: Any, both: Server) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata(as_json=True) == both.get("/v2").json()


def test_a_model_says_what_it_is(client: Any, both: Server, manifest: Manifest) -> None:
    assert client.is_model_ready(manifest.name)
    assert client.is_model_ready(manifest.name, manifest.version)
    assert not client.is_model_ready(manifest.name, "1")
    assert not client.is_model_ready("nobody")
    metadata = client.get_model_metadata(manifest.name)
    over = both.get(f"/v2/models/{manifest.name}").json()
    assert metadata.platform == over["platform"]
    assert [list(one.shape) for one in metadata.inputs] == [one["shape"] for one in over["inputs"]]
    assert [one.name for one in metadata.outputs] == output_names(manifest)
    config = client.get_model_config(manifest.name).config
    over = both.get(f"/v2/models/{manifest.name}/config").json()
    assert config.max_batch_size == over["max_batch_size"]
    assert config.backend == "onnxruntime"
    names = model_config_pb2.DataType.Name
    assert [names(one.data_type) for one in config.input] == [
        one["data_type"] for one in over["input"]
    ]
    assert config.parameters["digest"].string_value == manifest.graph_sha256


def test_inference_is_the_one_of_http_to_the_bit(
    client: Any, both: Server, manifest: Manifest
) -> None:
    arrays = draw(manifest)
    inputs = triton_inputs(tritonclient.grpc, manifest, arrays)
    result = client.infer(manifest.name, inputs, request_id="mine", priority=1, timeout=9_000_000)
    assert result.get_response().id == "mine"
    assert result.get_response().model_version == manifest.version
    for name, array in over_http(both, manifest, arrays).items():
        assert same(result.as_numpy(name), array), name


def typed_request(manifest: Manifest, arrays: Any) -> Any:
    """As clients of other makes send it: elements in fields of their type."""
    fields = {"UINT8": "uint_contents", "INT64": "int64_contents", "FP32": "fp32_contents"}
    request = service_pb2.ModelInferRequest(model_name=manifest.name, id="typed")
    for name, array in arrays.items():
        datatype = triton_inputs(tritonclient.grpc, manifest, {name: array})[0].datatype()
        sent = request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        getattr(sent.contents, fields[datatype]).extend(array.ravel().tolist())
    return request


def test_typed_contents(stub: Any, both: Server, manifest: Manifest) -> None:
    arrays = draw(manifest)
    response = stub.ModelInfer(typed_request(manifest, arrays))
    assert response.id == "typed"
    expected = over_http(both, manifest, arrays)
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        assert raw == expected[output.name].tobytes()
        assert tuple(output.shape) == expected[output.name].shape


def test_classification(client: Any, both: Server, own_store: Path) -> None:
    manifest = manifest_of(own_store, "cifar10")
    arrays = draw(manifest)
    wanted = tritonclient.grpc.InferRequestedOutput("probability", class_count=2)
    inputs = triton_inputs(tritonclient.grpc, manifest, arrays)
    found = client.infer("cifar10", inputs, outputs=[wanted]).as_numpy("probability")
    probability = over_http(both, manifest, arrays)["probability"]
    for row, elements in zip(probability, found, strict=True):
        order = np.argsort(-row, kind="stable")[:2]
        assert elements.tolist() == [
            f"{row[index]:f}:{index}:{manifest.labels[index]}".encode() for index in order
        ]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compression(client: Any, both: Server, own_store: Path, algorithm: str) -> None:
    manifest = manifest_of(own_store, "cifar10-gan")
    arrays = draw(manifest)
    inputs = triton_inputs(tritonclient.grpc, manifest, arrays)
    result = client.infer(manifest.name, inputs, compression_algorithm=algorithm)
    assert same(result.as_numpy("image"), over_http(both, manifest, arrays)["image"])


def test_async_infer(client: Any, both: Server, own_store: Path) -> None:
    manifest = manifest_of(own_store, "cifar10")
    arrived: queue.Queue[Any] = queue.Queue()

    def keep(seed: int, result: Any, error: Any) -> None:
        arrived.put((seed, result, error))

    for seed in range(4):
        inputs = triton_inputs(tritonclient.grpc, manifest, draw(manifest, seed=seed))
        client.async_infer("cifar10", inputs, partial(keep, seed))
    for _ in range(4):
        seed, result, error = arrived.get(timeout=30)
        assert error is None
        expected = over_http(both, manifest, draw(manifest, seed=seed))
        assert same(result.as_numpy("probability"), expected["probability"])


def test_a_stream_answers_in_order_and_outlives_an_error(client: Any, own_store: Path) -> None:
    manifest = manifest_of(own_store, "shakespeare")
    arrived: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: arrived.put((result, error)))
    for turn in range(9):
        arrays = draw(manifest, rows=1, seed=turn)
        if turn == 4:
            arrays["token"][0, 0] = len(manifest.vocabulary)
        inputs = triton_inputs(tritonclient.grpc, manifest, arrays)
        client.async_stream_infer(manifest.name, inputs, request_id=str(turn))
    for turn in range(9):
        result, error = arrived.get(timeout=30)
        if turn == 4:
            assert "above the maximum" in str(error)
        else:
            assert error is None
            assert result.get_response().id == str(turn)
    client.stop_stream()


def test_a_stream_that_its_client_leaves(client: Any, own_store: Path, both: Server) -> None:
    manifest = manifest_of(own_store, "shakespeare")
    client.start_stream(lambda result, error: None)
    inputs = triton_inputs(tritonclient.grpc, manifest, draw(manifest, rows=64))
    for _ in range(30):
        client.async_stream_infer(manifest.name, inputs)
    client.stop_stream(cancel_requests=True)
    assert client.infer(manifest.name, inputs).as_numpy("logits") is not None


@pytest.mark.anyio
async def test_aio_client(address: str, both: Server, own_store: Path) -> None:
    async with tritonclient.grpc.aio.InferenceServerClient(address) as client:
        assert await client.is_server_ready()
        for name in MODELS:
            manifest = manifest_of(own_store, name)
            asked = [draw(manifest, seed=seed) for seed in range(4)]
            results = await asyncio.gather(
                *(
                    client.infer(name, triton_inputs(tritonclient.grpc, manifest, arrays))
                    for arrays in asked
                )
            )
            for arrays, result in zip(asked, results, strict=True):
                expected = await asyncio.to_thread(over_http, both, manifest, arrays)
                for output, array in expected.items():
                    assert same(result.as_numpy(output), array)

        async def requests() -> Any:
            for seed in range(3):
                inputs = triton_inputs(tritonclient.grpc, manifest, draw(manifest, seed=seed))
                yield {"model_name": manifest.name, "inputs": inputs, "request_id": str(seed)}

        answers = client.stream_infer(requests())
        ids = [result.get_response().id async for result, error in answers if error is None]
        assert ids == ["0", "1", "2"]


Change = Callable[[Any], object]


def change_of_input(**fields: Any) -> Change:
    def change(request: Any) -> None:
        for name, value in fields.items():
            if name == "shape":
                request.inputs[0].shape[:] = value
            else:
                setattr(request.inputs[0], name, value)

    return change


WRONG: list[tuple[Change, str, str]] = [
    (lambda r: setattr(r, "model_name", "nobody"), "NOT_FOUND", "no model called 'nobody'"),
    (lambda r: setattr(r, "model_version", "1"), "NOT_FOUND", "not '1'"),
    (lambda r: r.inputs.pop(), "INVALID_ARGUMENT", "input image is missing"),
    (change_of_input(name="pixels"), "INVALID_ARGUMENT", "there is image"),
    (change_of_input(datatype="INT8"), "INVALID_ARGUMENT", "must be UINT8, not INT8"),
    (change_of_input(shape=[0, 1]), "INVALID_ARGUMENT", "where -1 is any size"),
    (lambda r: r.inputs[0].contents.uint_contents.append(1), "INVALID_ARGUMENT", "elements"),
    (
        lambda r: r.inputs[0].contents.uint_contents.__setitem__(0, 256),
        "INVALID_ARGUMENT",
        "256 out of bounds",
    ),
    (
        lambda r: r.inputs[0].contents.int_contents.append(1),
        "INVALID_ARGUMENT",
        "go into uint_contents",
    ),
    (lambda r: r.inputs[0].ClearField("contents"), "INVALID_ARGUMENT", "there is nothing"),
    (lambda r: r.raw_input_contents.append(b"x"), "INVALID_ARGUMENT", "there twice"),
    (lambda r: r.raw_input_contents.extend([b""] * 2), "INVALID_ARGUMENT", "2 tensors for 1"),
    (lambda r: r.outputs.add(name="p"), "INVALID_ARGUMENT", "there is probability"),
    (
        lambda r: r.parameters["sequence_id"].CopyFrom(service_pb2.InferParameter(int64_param=7)),
        "INVALID_ARGUMENT",
        "keeps a state",
    ),
    (
        lambda r: r.parameters["priority"].CopyFrom(service_pb2.InferParameter(uint64_param=9)),
        "INVALID_ARGUMENT",
        "from 0 to 3",
    ),
    (
        lambda r: r.inputs[0].shape.__setitem__(0, 2000),
        "INVALID_ARGUMENT",
        "the limit is 1024",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "status", "piece"), WRONG)
def test_a_wrong_request(
    stub: Any, own_store: Path, change: Change, status: str, piece: str
) -> None:
    manifest = manifest_of(own_store, "cifar10")
    request = typed_request(manifest, draw(manifest, rows=1))
    change(request)
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request, timeout=30)
    assert caught.value.code() is grpc.StatusCode[status]
    assert piece in caught.value.details()


@pytest.mark.parametrize("algorithm", [None, "gzip", "deflate"])
def test_a_message_beyond_the_limit(client: Any, own_store: Path, algorithm: str | None) -> None:
    """Also one that is small until it is inflated."""
    manifest = manifest_of(own_store, "cifar10")
    shape = [4000, *manifest.input("image").shape[1:]]
    arrays = {"image": np.zeros(shape, dtype=np.uint8)}
    assert arrays["image"].nbytes > int(str(LIMITS["max_body_bytes"]))
    with pytest.raises(Refused, match="larger than max"):
        client.infer(
            "cifar10",
            triton_inputs(tritonclient.grpc, manifest, arrays),
            compression_algorithm=algorithm,
        )


def test_a_deadline_of_the_call(client: Any, own_store: Path) -> None:
    manifest = manifest_of(own_store, "shakespeare")
    inputs = heavy(manifest)
    with pytest.raises(Refused, match="DEADLINE_EXCEEDED"):
        client.infer(manifest.name, inputs, client_timeout=0.002)
    with pytest.raises(Refused, match="DEADLINE_EXCEEDED"):
        client.infer(manifest.name, inputs, timeout=1)


def heavy(manifest: Manifest) -> Any:
    """Inputs that take the model a while, within the limit on a message."""
    arrays = draw(manifest, rows=16)
    arrays["token"] = np.zeros((16, 1000), dtype=np.int64)
    return triton_inputs(tritonclient.grpc, manifest, arrays)


STATE = [tritonclient.grpc.InferRequestedOutput("state_out")]


def test_cancelled_calls_leave_the_queue(client: Any, both: Server, own_store: Path) -> None:
    manifest = manifest_of(own_store, "shakespeare")
    calls, inputs = 60, heavy(manifest)

    def rows_run() -> int:
        (found,) = client.get_inference_statistics(manifest.name).model_stats
        return int(found.inference_count)

    def rows_waiting() -> float:
        series = f'triptych_queue_rows{{model="{manifest.name}"}} '
        text = both.get("/metrics").text
        return float(text.partition(series)[2].partition("\n")[0])

    before = rows_run()
    pending = [
        client.async_infer(manifest.name, inputs, lambda result, error: None, outputs=STATE)
        for _ in range(calls)
    ]
    for call in pending:
        call.cancel()
    end_s = time.monotonic() + 30
    while rows_waiting() > 0:
        assert time.monotonic() < end_s
    assert rows_run() - before < 16 * calls


def test_calls_that_arrived_are_answered_before_the_end(tiny_store: Path, tmp_path: Path) -> None:
    """Those that the core has read and not handed over yet, too: it would cancel them."""
    calls = 200
    manifest = manifest_of(tiny_store, "shakespeare")
    port = free_port()
    arrived: queue.Queue[Any] = queue.Queue()
    with serving(tiny_store, tmp_path / "home", workers=1, grpc_port=port) as server:
        server.wait_for("/v2/health/ready", 200)
        with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
            inputs = triton_inputs(tritonclient.grpc, manifest, draw(manifest, rows=1))
            for _ in range(calls):
                client.async_infer(
                    manifest.name,
                    inputs,
                    lambda result, error: arrived.put((result, error)),
                    outputs=STATE,
                )
            first = arrived.get(timeout=30)
            assert server.stop() == 0
            for _, error in [first, *(arrived.get(timeout=30) for _ in range(calls - 1))]:
                assert error is None, error
            with pytest.raises(Refused, match="UNAVAILABLE"):
                client.is_server_live()


def test_load_and_unload(client: Any, own_store: Path) -> None:
    client.unload_model("cifar10")
    states = {one.name: one.state for one in client.get_model_repository_index().models}
    assert set(states) == set(MODELS)

    def gone() -> bool:
        try:
            client.get_model_metadata("cifar10")
        except Refused as error:
            assert error.status() == "StatusCode.UNAVAILABLE"
            return True
        return False

    end_s = time.monotonic() + 30
    while not gone():
        assert time.monotonic() < end_s
        time.sleep(0.05)
    client.load_model("cifar10")
    while gone():
        assert time.monotonic() < end_s
        time.sleep(0.05)
    with pytest.raises(Refused, match="NOT_FOUND"):
        client.load_model("nobody")
    with pytest.raises(Refused, match="config is not a parameter"):
        client.load_model("cifar10", config="{}")


def test_statistics(client: Any, own_store: Path) -> None:
    manifest = manifest_of(own_store, "cifar10-gan")

    def rows() -> int:
        (found,) = client.get_inference_statistics(manifest.name).model_stats
        return int(found.inference_count)

    before = rows()
    client.infer(manifest.name, triton_inputs(tritonclient.grpc, manifest, draw(manifest, rows=5)))
    assert rows() == before + 5
    assert {one.name for one in client.get_inference_statistics().model_stats} == set(MODELS)


def test_calls_are_metered(client: Any, both: Server, own_store: Path) -> None:
    manifest = manifest_of(own_store, "cifar10")
    client.infer("cifar10", triton_inputs(tritonclient.grpc, manifest, draw(manifest)))
    assert 'route="grpc.infer"' in both.get("/metrics").text


# --- the start ----------------------------------------------------------------------------


def test_a_start_without_its_packages(tiny_store: Path, tmp_path: Path, monkeypatch: Any) -> None:
    missing = tmp_path / "hidden" / "grpc"
    missing.mkdir(parents=True)
    (missing / "__init__.py").write_text("raise ImportError('no grpc here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"))
    status, output = failed_start(tmp_path, store=tiny_store, grpc_port=free_port())
    assert status != 0
    assert "pip install 'triptych[grpc]'" in output
    assert "Traceback" not in output


def test_where_grpc_is_off_its_packages_are_not_loaded(tmp_path: Path) -> None:
    program = "import sys, service.app\nassert 'grpc' not in sys.modules, 'loaded'"
    subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment(tmp_path),
        check=True,
        timeout=60,
    )


def test_a_start_on_a_port_that_is_taken(tiny_store: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        status, output = failed_start(tmp_path, store=tiny_store, grpc_port=taken)
    assert status != 0
    assert f"TRIPTYCH_GRPC_PORT={taken}: 127.0.0.1 cannot listen on it" in output


# --- the .proto ---------------------------------------------------------------------------


def protoc(*options: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I", ".", *options, PROTO],
        cwd=ROOT,
        check=True,
        timeout=60,
    )


def test_the_messages_are_those_of_the_proto(tmp_path: Path) -> None:
    protoc(f"--python_out={tmp_path}")
    written = (tmp_path / PROTO).with_name("grpc_service_pb2.py").read_text()
    assert written == (ROOT / PROTO).with_name("grpc_service_pb2.py").read_text()


def test_the_proto_is_tritons(tmp_path: Path) -> None:
    """Every call, message, field and value that is there has Triton's name, number and type."""
    protoc(f"--descriptor_set_out={tmp_path / 'set'}")
    (ours,) = FileDescriptorSet.FromString((tmp_path / "set").read_bytes()).file
    theirs: dict[str, Any] = {}

    def collect(prefix: str, messages: Any, enums: Any) -> None:
        for enum in enums:
            theirs[prefix + enum.name] = {(one.name, one.number) for one in enum.value}
        for one in messages:
            name = prefix + one.name
            theirs[name] = {
                (field.name, field.number, field.type, field.label, field.type_name)
                for field in one.field
            }
            collect(name + ".", one.nested_type, one.enum_type)

    for module in (service_pb2, model_config_pb2):
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        collect("", file.message_type, file.enum_type)
        for service in file.service:
            theirs[service.name] = {
                (one.name, one.input_type, one.output_type, one.client_streaming)
                for one in service.method
            }
    known, theirs = theirs, {}
    collect("", ours.message_type, ours.enum_type)
    (service,) = ours.service
    theirs[service.name] = {
        (one.name, one.input_type, one.output_type, one.client_streaming) for one in service.method
    }
    assert len(theirs) > 40
    for name, members in theirs.items():
        assert members <= known[name], name


def test_versions_in_the_store_are_named_over_grpc(client: Any, own_store: Path) -> None:
    for name in MODELS:
        assert list(client.get_model_metadata(name).versions) == [Store(own_store).current(name)]
