"""Feedback of a real server: what all kinds leave in the folder, and what they do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.images import FEATURES, decode_image, image_features
from tests.e2e.server import Server, failed_start, serving
from tests.e2e.test_metrics import scrape
from tests.pictures import picture
from tests.service.test_feedback import PRIVATE, read

PROMPT = "Prompts are what nobody else may read"


def ask(server: Server) -> dict[str, Any]:
    """A request of every route that is kept; the classifier's answer."""
    classified = server.post("/v1/classify", content=picture(1))
    files = {"a": picture(2), "b": picture(3, size=(64, 48))}
    text = {"prompt": PROMPT, "max_tokens": 5, "seed": 1}
    answers = [
        classified,
        server.post("/v1/classify", files=files),
        server.post("/v1/classify", content=b"no picture"),
        server.post("/v1/completions", json=text),
        server.post("/v1/completions", json=text | {"stream": True, "n": 2}),
        server.post("/v1/sample", json={"labels": ["cat", "frog"], "seed": 1}),
        server.post("/v1/images/generations", json={"prompt": "a frog", "seed": 1}),
        server.post("/generate", json=text),
        server.post("/sample", json={"labels": ["cat"]}),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 422, *[200] * 6]
    answer: dict[str, Any] = classified.json()
    return answer


def test_all_kinds_are_kept_without_what_clients_sent(store_copy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "feedback"
    with serving(store_copy, tmp_path / "home", feedback=folder) as server:
        server.wait_for("/readyz", 200)
        answer = ask(server)
        assert server.stop() == 0
    rows = read(folder)
    assert not PRIVATE & set(rows[0])
    routes = sorted((row["model"], row["route"]) for row in rows)
    assert routes == sorted(
        [
            *[("cifar10", "classify")] * 3,
            *[("shakespeare", "completions")] * 3,
            ("shakespeare", "bentoml.generate"),
            *[("cifar10-gan", "sample")] * 2,
            ("cifar10-gan", "images"),
            ("cifar10-gan", "bentoml.sample"),
        ]
    )
    seen = image_features(decode_image(picture(1), height=32, width=32, max_pixels=10**6)[None])
    (first,) = (
        row
        for row in rows
        if row["route"] == "classify"
        and np.isclose(row["brightness"], seen["brightness"][0], atol=1e-6)
    )
    for name in FEATURES:
        assert first[name] == pytest.approx(seen[name][0], abs=1e-6)
    (prediction,) = answer["predictions"]
    assert first["label"] == prediction["label"]
    assert first["score"] == pytest.approx(prediction["score"], abs=1e-5)
    assert first["version"] == answer["version"]
    texts = [row for row in rows if row["model"] == "shakespeare"]
    assert {(row["prompt_chars"], row["text_chars"], row["finish_reason"]) for row in texts} >= {
        (len(PROMPT), 5, "length")
    }
    drawn = sorted(row["label"] for row in rows if row["route"] == "sample")
    assert drawn == ["cat", "frog"]
    for path in folder.rglob("*.parquet"):
        assert PROMPT.encode() not in path.read_bytes()


def test_named_fields_alone_are_kept(store_copy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "feedback"
    fields = "model,prompt,text,image"
    home = tmp_path / "home"
    with serving(store_copy, home, feedback=folder, feedback_fields=fields) as server:
        server.wait_for("/readyz", 200)
        ask(server)
        whole = server.post("/v1/completions", json={"prompt": "x", "max_tokens": 9, "seed": 2})
        assert server.stop() == 0
    rows = read(folder)
    assert set(rows[0]) == set(fields.split(","))
    images = {row["image"] for row in rows if row["model"] == "cifar10"}
    assert images == {picture(1), picture(2), picture(3, size=(64, 48))}
    texts = {row["prompt"]: row["text"] for row in rows if row["model"] == "shakespeare"}
    assert set(texts) == {PROMPT, "x"}
    assert texts["x"] == whole.json()["choices"][0]["text"]


def test_nothing_is_written_when_it_is_off(server: Server) -> None:
    ask(server)
    assert list(server.home.rglob("*.parquet")) == []
    assert not any(
        name.startswith("triptych_feedback") for name, labels in scrape(server) if labels
    )


def test_a_mistake_is_one_line_at_the_start(store_copy: Path, tmp_path: Path) -> None:
    status, log = failed_start(tmp_path, store=store_copy, feedback_fields="lable")
    assert status != 0
    assert "'lable' is not a field" in log
    assert "Traceback" not in log


def test_a_share_is_the_same_requests_each_time(store_copy: Path, tmp_path: Path) -> None:
    kept = []
    for attempt in ("one", "two"):
        folder = tmp_path / attempt
        settings = {"feedback": folder, "feedback_share": 0.5, "feedback_fields": "image"}
        with serving(store_copy, tmp_path / f"home {attempt}", **settings) as server:
            server.wait_for("/readyz", 200)
            for seed in range(24):
                assert server.post("/v1/classify", content=picture(seed)).status_code == 200
            assert server.stop() == 0
        kept.append(sorted(row["image"] for row in read(folder)))
    assert kept[0] == kept[1]
    assert 4 <= len(kept[0]) <= 20
