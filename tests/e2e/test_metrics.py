"""Counts are right across workers, and no client can make a new series."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.store import Store
from tests.e2e.server import WORKERS, Server
from tests.e2e.workers import requests_by_worker
from tests.pictures import picture

CLASSIFIED = ("cifar10", "classify", "ok")
WRITTEN = ("shakespeare", "completions", "ok")

Key = tuple[str, frozenset[tuple[str, str]]]


def scrape(server: Server) -> dict[Key, float]:
    answer = server.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(samples: dict[Key, float], name: str, **labels: str) -> float:
    return samples.get((name, frozenset(labels.items())), 0.0)


def test_counts_of_both_workers_add_up(server: Server) -> None:
    before, by_worker = scrape(server), requests_by_worker(server.home)
    requests: list[tuple[tuple[str, str, str], str, dict[str, Any]]] = [
        (CLASSIFIED, "/v1/classify", {"content": picture(seed)}) for seed in range(40)
    ]
    for seed in range(10):
        text = {"prompt": "a", "seed": seed}
        requests += [
            (WRITTEN, "/v1/completions", {"json": text}),
            (WRITTEN, "/v1/completions", {"json": text | {"stream": True}}),
            (("cifar10", "classify", "invalid"), "/v1/classify", {"content": b"no picture"}),
            (("cifar10-gan", "sample", "ok"), "/v1/sample", {"json": {"labels": ["cat"]}}),
            (
                ("cifar10-gan", "images", "invalid"),
                "/v1/images/generations",
                {"json": {"prompt": "unicorn"}},
            ),
            (("shakespeare", "bentoml.generate", "ok"), "/generate", {"json": text}),
        ]
    sent = Counter(counted for counted, _, _ in requests)
    # Several at once, each on a connection of its own: both workers get some.
    with ThreadPoolExecutor(8) as pool:
        for _, path, options in requests:
            pool.submit(server.post, path, **options)
    after = scrape(server)
    for (model, route, outcome), count in sent.items():
        labels = {"model": model, "route": route, "outcome": outcome}
        name = "triptych_requests_total"
        assert value(after, name, **labels) - value(before, name, **labels) == count, labels
        if outcome == "ok":
            name, labels = "triptych_request_seconds_count", {"model": model, "route": route}
            assert value(after, name, **labels) - value(before, name, **labels) == count
    rows = "triptych_batch_rows_sum"
    assert value(after, rows, model="cifar10") - value(before, rows, model="cifar10") == 40
    worked = requests_by_worker(server.home)
    assert len(worked) == WORKERS
    assert sum(worked.values()) - sum(by_worker.values()) == sum(sent.values())
    assert all(worked[pid] > by_worker.get(pid, 0) for pid in worked)


def test_nothing_waits_when_nothing_is_asked(server: Server) -> None:
    samples = scrape(server)
    for model in ("cifar10", "cifar10-gan", "shakespeare"):
        assert ("triptych_queue_rows", frozenset({("model", model)})) in samples
        assert value(samples, "triptych_queue_rows", model=model) == 0


def test_served_versions_are_shown(server: Server, store_copy: object) -> None:
    store = Store(store_copy)  # type: ignore[arg-type]
    samples = scrape(server)
    for name in store.names():
        manifest = store.verified(name, store.current(name))
        labels = {"model": name, "version": manifest.version, "kind": manifest.kind}
        assert value(samples, "triptych_model_info", **labels) == 1


def test_clients_make_no_new_series(server: Server) -> None:
    server.post("/v1/classify", content=picture())
    server.post("/v1/classify", content=b"bad")
    server.post("/v1/completions", json={"prompt": "a", "model": "nobody"})
    before = set(scrape(server))
    for number in range(20):
        server.post(f"/v1/classify?model=m{number}", content=picture())
        server.post("/v1/completions", json={"prompt": "a", "model": f"m{number}"})
        server.get(f"/v1/models/m{number}")
        server.get(f"/v1/path{number}")
        server.get(f"/path{number}")
        httpx.request(f"METHOD{number}", server.url + "/v1/classify", timeout=30)
        server.post("/sample", json={"model": f"m{number}"})
    after = scrape(server)
    made = set(after) - before
    # Routes and outcomes that had not been seen; what spends the error budget stands beside at 0.
    assert len({labels for _, labels in made}) <= 4 * 5
    for name, labels in made:
        values = dict(labels)
        assert values.get("model", "") == ""
        assert values["outcome"] == "invalid" or after[name, labels] == 0


@pytest.mark.parametrize("label", ["model", "route", "outcome"])
def test_label_values_are_from_closed_sets(server: Server, label: str) -> None:
    known = {
        "model": {"", "cifar10", "cifar10-gan", "shakespeare"},
        "route": {
            "classify", "completions", "websocket", "tokenize", "images", "sample", "models",
            "bentoml.classify", "bentoml.generate", "bentoml.sample",
            "oip", "oip.server", "oip.metadata", "oip.infer", "oip.generate", "oip.statistics",
            "oip.repository", "grpc.metadata", "grpc.infer", "grpc.stream", "grpc.statistics",
            "grpc.repository",
        },
        "outcome": {
            "ok", "invalid", "overloaded", "not_ready", "deadline", "cancelled", "error",
        },
    }  # fmt: skip
    found = {
        dict(labels)[label]
        for name, labels in scrape(server)
        if name.startswith("triptych_") and label in dict(labels)
    }
    assert found
    assert found <= known[label]
