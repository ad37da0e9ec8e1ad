"""Traces, as a real OTLP receiver gets them: the tree of each request, and its times."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
from httpx_ws import connect_ws

from tests.e2e.collector import Collector, Span, collecting
from tests.e2e.server import Server, serving
from tests.pictures import picture
from tests.ports import free_port

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PHASES = ["decode", "queue", "inference", "encode"]
INFER = {
    "inputs": [{"name": "image", "shape": [1, 32, 32, 3], "datatype": "UINT8", "data": [0] * 3072}]
}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def grpc_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def traced(
    tiny_store: Path,
    collector: Collector,
    grpc_port: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    settings: dict[str, object] = {
        "workers": 1,
        "traces": collector.url,
        "grpc_port": grpc_port,
        "stream_interval_ms": 0,
    }
    with serving(tiny_store, home, **settings) as running:
        running.wait_for("/readyz", 200)
        yield running


def check_tree(root: Span, children: dict[str, Span], *, phases: list[str] = PHASES) -> None:
    """All phases, within their parent, one after the other."""
    assert sorted(children) == sorted(phases)
    assert {child.trace_id for child in children.values()} == {root.trace_id}
    at = root.start_ns
    for phase in phases:
        child = children[phase]
        assert at <= child.start_ns <= child.end_ns <= root.end_ns
        at = child.end_ns


REQUESTS: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "classify": ("/v1/classify", {"content": picture()}, "cifar10", "/v1/classify"),
    "sample": ("/v1/sample", {"json": {"n": 3}}, "cifar10-gan", "/v1/sample"),
    "completions": (
        "/v1/completions",
        {"json": {"prompt": "a", "max_tokens": 5}},
        "shakespeare",
        "/v1/completions",
    ),
    "infer": (
        "/v2/models/cifar10/infer",
        {"json": INFER},
        "cifar10",
        "/v2/models/{model}/infer",
    ),
    "bentoml": (
        "/generate",
        {"json": {"prompt": "a", "max_tokens": 5}},
        "shakespeare",
        "/generate",
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_a_tree_of_its_phases(traced: Server, collector: Collector, name: str) -> None:
    path, options, model, route = REQUESTS[name]
    headers = {"x-request-id": f"tree-{name}"}
    assert traced.post(path, headers=headers, **options).status_code == 200
    root, children = collector.tree(f"tree-{name}")
    check_tree(root, children)
    assert root.name == f"POST {route}"
    assert root.kind == 2  # server
    assert root.parent_id == ""
    assert root.attributes["http.route"] == route
    assert root.attributes["http.response.status_code"] == 200
    assert root.attributes["triptych.model"] == model
    assert children["inference"].attributes["triptych.rows"] == (3 if name == "sample" else 1)
    assert root.resource["service.name"] == "triptych"
    assert not root.failed


def test_a_stream_tells_of_its_first_and_last_characters(
    traced: Server, collector: Collector
) -> None:
    asked = {"prompt": "a", "max_tokens": 30, "stream": True}
    answer = traced.post("/v1/completions", json=asked, headers={"x-request-id": "stream"})
    assert answer.text.endswith("data: [DONE]\n\n")
    root, children = collector.tree("stream")
    check_tree(root, children)
    first_ns, last_ns = root.events["first token"], root.events["last token"]
    inference = children["inference"]
    assert inference.start_ns <= first_ns < last_ns <= inference.end_ns
    assert inference.attributes["triptych.tokens"] == 30


def test_a_message_over_a_websocket_is_a_child_of_its_connection(
    traced: Server, collector: Collector
) -> None:
    url = traced.url.replace("http", "ws") + "/v1/completions/stream"
    with connect_ws(url, headers={"x-request-id": "socket"}) as socket:
        for _ in range(2):
            socket.send_json({"prompt": "a", "max_tokens": 3})
            while "choices" in socket.receive_json():
                pass
    connection, children = collector.tree("socket")
    assert connection.attributes["http.response.status_code"] == 101
    messages = collector.wait_for(lambda span: span.parent_id == connection.span_id, 2)
    assert [one.attributes["triptych.request_id"] for one in messages] == ["socket/1", "socket/2"]
    for message in messages:
        _, children = collector.tree(message.attributes["triptych.request_id"])
        check_tree(message, children)
        assert connection.start_ns <= message.start_ns <= message.end_ns <= connection.end_ns


def test_a_grpc_call_and_each_of_a_stream(
    traced: Server, collector: Collector, grpc_port: int
) -> None:
    image = tritonclient.grpc.InferInput("image", [1, 32, 32, 3], "UINT8")
    image.set_data_from_numpy(np.zeros((1, 32, 32, 3), np.uint8))
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{grpc_port}") as client:
        client.infer("cifar10", [image], headers={"x-request-id": "call"})
        answers: list[object] = []
        client.start_stream(lambda result, error: answers.append(error), headers={
            "x-request-id": "calls", "traceparent": f"00-{TRACE}-{SPAN}-01",
        })  # fmt: skip
        for _ in range(2):
            client.async_stream_infer("cifar10", [image])
        client.stop_stream()
    assert answers == [None, None]
    root, children = collector.tree("call")
    check_tree(root, children)
    assert root.attributes["rpc.method"] == "ModelInfer"
    assert root.attributes["rpc.grpc.status_code"] == 0
    stream, _ = collector.tree("calls")
    assert (stream.trace_id, stream.parent_id) == (TRACE, SPAN)
    for part in ("calls/1", "calls/2"):
        root, children = collector.tree(part)
        check_tree(root, children)
        assert (root.trace_id, root.parent_id) == (TRACE, stream.span_id)


def test_requests_that_share_a_run_have_its_id_in_common(
    traced: Server, collector: Collector
) -> None:
    runs: dict[str, list[int]] = {}
    for burst in range(20):  # on a busy machine requests may come one by one
        send_at_once(traced, burst)
        runs |= runs_of(collector, burst)
        if max(map(len, runs.values())) > 1:
            break
    assert max(map(len, runs.values())) > 1
    for rows in runs.values():
        assert len(set(rows)) == 1  # all tell the same of it
        if len(rows) > 1:
            assert rows[0] > 1


def send_at_once(traced: Server, burst: int) -> None:
    with ThreadPoolExecutor(12) as pool:
        for number in range(24):
            headers = {"x-request-id": f"shared-{burst}-{number}"}
            pool.submit(traced.post, "/v1/sample", json={"n": 8, "seed": number}, headers=headers)


def runs_of(collector: Collector, burst: int) -> dict[str, list[int]]:
    """What each run's requests say of its rows."""
    runs: dict[str, list[int]] = {}
    for number in range(24):
        _, children = collector.tree(f"shared-{burst}-{number}")
        attributes = children["inference"].attributes
        runs_of_it = zip(
            attributes["triptych.batch.ids"], attributes["triptych.batch.rows"], strict=True
        )
        for run, rows in runs_of_it:
            runs.setdefault(run, []).append(rows)
    return runs


def test_a_callers_trace_goes_on_and_its_word_on_sampling_counts(
    traced: Server, collector: Collector
) -> None:
    for flags, name in (("00", "unsampled"), ("01", "sampled")):
        headers = {"traceparent": f"00-{TRACE}-{SPAN}-{flags}", "x-request-id": name}
        traced.post("/v1/classify", content=picture(), headers=headers)
    root, _ = collector.tree("sampled")
    assert (root.trace_id, root.parent_id) == (TRACE, SPAN)
    assert "unsampled" not in {span.request_id for span in collector.spans}


def test_a_refused_request_has_a_span_and_no_phases_that_it_never_reached(
    traced: Server, collector: Collector
) -> None:
    answer = traced.post("/v1/classify", content=b"none", headers={"x-request-id": "bad"})
    assert answer.status_code == 422
    root, children = collector.tree("bad")
    assert not children
    assert root.attributes["triptych.outcome"] == "invalid"
    assert not root.failed  # it is the client that did


def test_probes_and_queries_are_in_no_span(traced: Server, collector: Collector) -> None:
    traced.post("/v1/classify?model=secret", content=picture(), headers={"x-request-id": "query"})
    collector.tree("query")
    assert "secret" not in json.dumps([span.attributes for span in collector.spans])
    paths = {span.attributes.get("url.path") for span in collector.spans}
    assert not paths & {"/readyz", "/livez", "/metrics"}


def test_a_receiver_that_is_away_costs_spans_and_is_told_once(
    tiny_store: Path, tmp_path: Path
) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    with serving(tiny_store, tmp_path / "home", workers=1, traces=nowhere) as running:
        running.wait_for("/readyz", 200)
        for seed in range(40):
            assert running.post("/v1/classify", content=picture(seed)).status_code == 200
        metrics = ""
        for _ in range(60):
            metrics = running.get("/metrics").text
            if "triptych_trace_spans_dropped_total 0.0" not in metrics:
                break
    counted = "triptych_trace_spans_dropped_total"
    (line,) = [one for one in metrics.splitlines() if one.startswith(counted)]
    dropped = float(line.split()[-1])
    assert 0 < dropped <= 40 * 5
    assert running.log.count("are dropped") == 1
