"""Loading and unloading on every worker, statistics, and text by the generate extension."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import tritonclient.http

from service.store import Store
from tests.e2e.oip import draw, in_json, infer, manifest_of
from tests.e2e.server import WORKERS, Server, serving
from tests.e2e.workers import requests_by_worker
from tests.service.variants import set_current

NAMES = ["cifar10", "cifar10-gan", "shakespeare"]


@pytest.fixture(scope="module")
def own_store(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(tiny_store, tmp_path_factory.mktemp("controlled") / "store"))


@pytest.fixture(scope="module")
def controlled(own_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two workers that clients may tell what to serve."""
    home = tmp_path_factory.mktemp("home")
    with serving(own_store, home, model_control=True) as running:
        running.wait_for("/v2/health/ready", 200)
        yield running


@pytest.fixture
def client(controlled: Server) -> Iterator[Any]:
    address = controlled.url.removeprefix("http://")
    with tritonclient.http.InferenceServerClient(address) as client:
        yield client


def every_worker(server: Server, ask: Callable[[], bool]) -> bool:
    """Ask until each worker has answered, each on connections of its own; all must say yes."""
    before = requests_by_worker(server.home)
    for _ in range(60):
        if not all(ask() for _ in range(4)):
            return False
        time.sleep(0.1)  # counts are written a few times a second
        after = requests_by_worker(server.home)
        if sum(after[pid] > before.get(pid, 0) for pid in after) == WORKERS:
            return True
    raise AssertionError("a worker never answered")


def eventually(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end_s, "it never came about"
        time.sleep(0.1)


def is_served(server: Server, model: str) -> Callable[[], bool]:
    return lambda: server.get(f"/v2/models/{model}").status_code == 200


def is_gone(server: Server, model: str) -> Callable[[], bool]:
    return lambda: server.get(f"/v2/models/{model}").status_code == 503


def test_the_index(client: Any, own_store: Path) -> None:
    store = Store(own_store)
    expected = [
        {"name": name, "version": store.current(name), "state": "READY", "reason": ""}
        for name in NAMES
    ]
    assert client.get_model_repository_index() == expected


def test_unload_and_load_on_every_worker(client: Any, controlled: Server, own_store: Path) -> None:
    client.unload_model("cifar10")
    eventually(lambda: every_worker(controlled, is_gone(controlled, "cifar10")))
    refusal = infer(controlled, "cifar10", {"inputs": []})
    assert (refusal.status_code, refusal.json()["error"]) == (503, "cifar10 is unloaded")
    # The other protocols do not have it either, and the rest of the service goes on, ready.
    asked = controlled.post("/v1/classify?model=cifar10", content=b"x")
    assert asked.status_code == 503
    assert client.is_server_ready()
    assert client.is_model_ready("shakespeare")
    index = {one["name"]: one for one in client.get_model_repository_index()}
    assert index["cifar10"]["state"] == "UNAVAILABLE"
    assert index["cifar10"]["reason"] == "unloaded"
    ready = controlled.post("/v2/repository/index", json={"ready": True}).json()
    assert [one["name"] for one in ready] == NAMES[1:]
    # What is published in the meantime does not bring it back.
    set_current(Store(own_store), "cifar10", Store(own_store).current("cifar10") + "\n")
    client.unload_model("cifar10")
    client.load_model("cifar10")
    assert infer(controlled, "shakespeare", {"inputs": []}).status_code == 400
    eventually(lambda: every_worker(controlled, is_served(controlled, "cifar10")))
    manifest = manifest_of(own_store, "cifar10")
    answer = infer(controlled, "cifar10", in_json(manifest, draw(manifest)))
    assert answer.status_code == 200


def test_unloading_lets_what_runs_finish(client: Any, controlled: Server, own_store: Path) -> None:
    manifest = manifest_of(own_store, "cifar10-gan")
    body = in_json(manifest, draw(manifest, rows=8))
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(infer, controlled, manifest.name, body) for _ in range(40)]
        client.unload_model(manifest.name)
        statuses = {answer.result().status_code for answer in answers}
    client.load_model(manifest.name)
    eventually(lambda: every_worker(controlled, is_served(controlled, manifest.name)))
    assert statuses <= {200, 503}


def test_a_version_that_cannot_be_loaded(client: Any, controlled: Server, own_store: Path) -> None:
    store = Store(own_store)
    version = store.current("cifar10-gan")
    client.unload_model("cifar10-gan")
    set_current(store, "cifar10-gan", "nowhere\n")
    with pytest.raises(
        tritonclient.http.InferenceServerException, match=r"is not served: .*nowhere"
    ):
        client.load_model("cifar10-gan")

    def is_explained() -> bool:
        index = controlled.post("/v2/repository/index", json={}).json()
        return index[1]["state"] == "UNAVAILABLE" and "nowhere" in index[1]["reason"]

    eventually(lambda: every_worker(controlled, is_explained))
    assert client.is_server_ready()
    set_current(store, "cifar10-gan", version + "\n")
    client.load_model("cifar10-gan")
    eventually(lambda: every_worker(controlled, is_served(controlled, "cifar10-gan")))


@pytest.mark.parametrize("action", ["load", "unload"])
@pytest.mark.parametrize("name", ["nobody", "..%2Fetc", ".hidden"])
def test_a_model_that_the_store_has_not(controlled: Server, action: str, name: str) -> None:
    answer = controlled.post(f"/v2/repository/models/{name}/{action}")
    assert answer.status_code == 404
    assert list(answer.json()) == ["error"]


def test_a_load_that_asks_for_more(client: Any) -> None:
    with pytest.raises(tritonclient.http.InferenceServerException, match="config is not a param"):
        client.load_model("cifar10", config=json.dumps({"max_batch_size": 1}))


def test_statistics_of_all_workers(client: Any, controlled: Server, own_store: Path) -> None:
    manifest = manifest_of(own_store, "cifar10")
    body = in_json(manifest, draw(manifest, rows=5))
    bad = body | {"outputs": [{"name": "nothing"}]}

    def numbers() -> dict[str, Any]:
        (found,) = client.get_inference_statistics("cifar10", manifest.version)["model_stats"]
        assert (found["name"], found["version"]) == ("cifar10", manifest.version)
        return dict(found)

    before = numbers()
    workers = requests_by_worker(controlled.home)
    turns = 0
    while turns < 60:
        assert infer(controlled, "cifar10", body).status_code == 200
        assert infer(controlled, "cifar10", bad).status_code == 400
        turns += 1
        time.sleep(0.06)
        asked = requests_by_worker(controlled.home)
        if sum(asked[pid] > workers.get(pid, 0) for pid in asked) == WORKERS and turns >= 8:
            break
    after = numbers()
    assert after["inference_count"] - before["inference_count"] == 5 * turns
    assert after["execution_count"] - before["execution_count"] == turns
    for key in ("success", "fail", "queue", "compute_infer"):
        count = after["inference_stats"][key]["count"] - before["inference_stats"][key]["count"]
        assert count == turns, key
    assert after["inference_stats"]["success"]["ns"] > before["inference_stats"]["success"]["ns"]
    everyone = client.get_inference_statistics()["model_stats"]
    assert [one["name"] for one in everyone] == NAMES


def generate(server: Server, stream: bool = False, **fields: Any) -> httpx.Response:
    action = "generate_stream" if stream else "generate"
    body = {"text_input": "abc", "parameters": {"max_tokens": 40, "seed": 3} | fields}
    return server.post(f"/v2/models/shakespeare/{action}", json=body | {"id": "mine"})


def test_a_text_is_the_one_that_completions_write(controlled: Server, own_store: Path) -> None:
    version = Store(own_store).current("shakespeare")
    whole = generate(controlled, temperature=0.8, top_p=0.9, top_k=20).json()
    asked = {"prompt": "abc", "max_tokens": 40, "seed": 3}
    asked |= {"temperature": 0.8, "top_p": 0.9, "top_k": 20}
    text = controlled.post("/v1/completions", json=asked).json()["choices"][0]["text"]
    assert len(text) == 40
    assert whole == {
        "id": "mine",
        "model_name": "shakespeare",
        "model_version": version,
        "text_output": text,
    }


def test_parameters_beside_the_text(controlled: Server) -> None:
    body = {"text_input": "abc", "max_tokens": 40, "seed": 3, "parameters": None}
    beside = controlled.post("/v2/models/shakespeare/generate", json=body).json()
    assert beside["text_output"] == generate(controlled).json()["text_output"]


def test_a_text_in_events(controlled: Server) -> None:
    whole = generate(controlled, max_tokens=4000).json()
    streamed = generate(controlled, stream=True, max_tokens=4000)
    assert streamed.headers["content-type"].startswith("text/event-stream")
    events = streamed.text.split("\n\n")
    assert events.pop() == ""
    assert len(events) > 1
    parts = [json.loads(one.removeprefix("data: ")) for one in events]
    assert "".join(part.pop("text_output") for part in parts) == whole.pop("text_output")
    assert all(part == whole for part in parts)


def test_a_stream_that_runs_out_of_time(controlled: Server) -> None:
    body = {"text_input": "abc", "parameters": {"max_tokens": 4096, "priority": 1}}
    streamed = controlled.post(
        "/v2/models/shakespeare/generate_stream", json=body, headers={"x-request-timeout-ms": "25"}
    )
    last = json.loads(streamed.text.strip().split("data: ")[-1])
    assert list(last) == ["error"], "4,096 characters in 25 ms?"
    # Before the first event it would have been a status.
    assert streamed.status_code in (200, 504)


def test_a_text_until_a_stop(controlled: Server) -> None:
    whole = generate(controlled).json()["text_output"]
    stop = whole[10:12]
    stopped = generate(controlled, stop=[stop]).json()["text_output"]
    assert stopped == whole[: whole.index(stop)]


def test_a_restart_loads_everything(tiny_store: Path, tmp_path: Path) -> None:
    """Also what the last server under the same home was told to unload."""
    for _ in range(2):
        with serving(tiny_store, tmp_path / "home", model_control=True, workers=1) as server:
            server.wait_for("/v2/health/ready", 200)
            assert len(server.post("/v2/repository/index", json={"ready": True}).json()) == 3
            answer = server.post("/v2/repository/models/cifar10/unload", json={})
            assert answer.status_code == 200
            assert is_gone(server, "cifar10")()
