"""Every endpoint's good answers, over HTTP."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest

from service.store import Store
from tests.e2e.server import Server
from tests.pictures import picture, size_of

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


def ok(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/readyz"])
def test_probes(server: Server, path: str) -> None:
    assert server.get(path).status_code == 200


def test_readiness_names_the_versions(server: Server, store_copy: Any) -> None:
    store = Store(store_copy)
    found = ok(server.get("/readyz"))
    assert found["serving"] == {name: store.current(name) for name in store.names()}
    assert found["problems"] == {}


def test_classify_raw_bytes(server: Server) -> None:
    found = ok(server.post("/v1/classify", content=picture()))
    assert found["model"] == "cifar10"
    (prediction,) = found["predictions"]
    scores = [one["score"] for one in prediction["top"]]
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)
    assert prediction["label"] == CLASSES[prediction["index"]] == prediction["top"][0]["label"]
    assert "heatmap" not in prediction


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_classify_every_format_and_size(server: Server, kind: str) -> None:
    raw = picture(size=(120, 90), kind=kind)
    headers = {"content-type": f"image/{kind.lower()}"}
    assert len(ok(server.post("/v1/classify", content=raw, headers=headers))["predictions"]) == 1


def test_classify_many_in_order(server: Server) -> None:
    files = [("images", (f"{seed}.png", picture(seed))) for seed in range(8)]
    together = ok(server.post("/v1/classify?top_k=10", files=files))["predictions"]
    for seed, prediction in enumerate(together):
        (alone,) = ok(server.post("/v1/classify?top_k=10", content=picture(seed)))["predictions"]
        assert prediction == alone
        assert sum(one["score"] for one in prediction["top"]) == pytest.approx(1, abs=1e-4)


def test_classify_explains(server: Server) -> None:
    answer = server.post("/v1/classify?explain=true&top_k=1&model=cifar10", content=picture())
    (prediction,) = ok(answer)["predictions"]
    assert len(prediction["top"]) == 1
    heatmap = prediction["heatmap"]
    assert len({len(row) for row in heatmap}) == 1
    assert all(0 <= value <= 1 for row in heatmap for value in row)
    assert float(answer.headers["x-inference-time"]) > 0
    assert float(answer.headers["x-queue-time"]) >= 0


def test_completions(server: Server) -> None:
    body = {"prompt": "The ", "max_tokens": 12, "seed": 3, "n": 2}
    found = ok(server.post("/v1/completions", json=body))
    assert found["object"] == "text_completion"
    assert found["seed"] == 3
    assert [choice["index"] for choice in found["choices"]] == [0, 1]
    assert all(len(choice["text"]) == 12 for choice in found["choices"])
    assert {choice["finish_reason"] for choice in found["choices"]} == {"length"}
    assert found["usage"] == {"prompt_tokens": 4, "completion_tokens": 24, "total_tokens": 28}
    assert found["choices"][0]["text"] != found["choices"][1]["text"]


def events(answer: httpx.Response) -> list[Any]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = answer.text.split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    return [json.loads(block.removeprefix("data: ")) for block in blocks[:-2]]


@pytest.mark.parametrize("prompt", ["The ", ["a", "b", ""], [1, 2, 3], [[1], [2, 3]]])
@pytest.mark.parametrize("echo", [False, True])
def test_a_stream_says_what_the_whole_answer_says(server: Server, prompt: Any, echo: bool) -> None:
    body = {
        "prompt": prompt, "max_tokens": 40, "seed": 8, "n": 2, "echo": echo, "logprobs": 2,
        "stop": ["e", "zz"],
    }  # fmt: skip
    whole = ok(server.post("/v1/completions", json=body))
    streamed = events(
        server.post(
            "/v1/completions",
            json=body | {"stream": True, "stream_options": {"include_usage": True}},
        )
    )
    usage = streamed.pop()
    assert usage["choices"] == []
    assert usage["usage"] == whole["usage"]
    assert len({chunk["id"] for chunk in streamed}) == 1
    for expected in whole["choices"]:
        chunks = [
            choice
            for chunk in streamed
            for choice in chunk["choices"]
            if choice["index"] == expected["index"]
        ]
        assert "".join(chunk["text"] for chunk in chunks) == expected["text"]
        reasons = [chunk["finish_reason"] for chunk in chunks]
        assert reasons == [None] * (len(chunks) - 1) + [expected["finish_reason"]]
        for key, values in expected["logprobs"].items():
            assert [one for chunk in chunks for one in chunk["logprobs"][key]] == values


def test_greedy_text_needs_no_seed(server: Server) -> None:
    body = {"prompt": "a", "temperature": 0, "max_tokens": 30}
    first, second = (ok(server.post("/v1/completions", json=body)) for _ in range(2))
    assert first["choices"] == second["choices"]


def test_a_fresh_seed_is_told_and_repeats(server: Server) -> None:
    body = {"prompt": "a", "max_tokens": 30}
    first = ok(server.post("/v1/completions", json=body))
    again = ok(server.post("/v1/completions", json=body | {"seed": first["seed"]}))
    assert first["choices"] == again["choices"]
    assert ok(server.post("/v1/completions", json=body))["seed"] != first["seed"]


def test_scoring_a_prompt_writes_nothing(server: Server) -> None:
    body = {"prompt": "abc", "max_tokens": 0, "echo": True, "logprobs": 1}
    (choice,) = ok(server.post("/v1/completions", json=body))["choices"]
    assert choice["text"] == "abc"
    first, *others = choice["logprobs"]["token_logprobs"]
    assert first is None
    assert len(others) == 2
    assert all(value < 0 for value in others)


def test_models(server: Server) -> None:
    cards = ok(server.get("/v1/models"))
    assert cards["object"] == "list"
    assert [card["id"] for card in cards["data"]] == ["cifar10", "cifar10-gan", "shakespeare"]
    for card in cards["data"]:
        again = ok(server.get(f"/v1/models/{card['id']}"))
        # Each worker proves it for itself, of batches of the size that it found to pay.
        assert again.pop("batch_invariance").keys() == card.pop("batch_invariance").keys()
        assert again == card
        assert card["object"] == "model"
        assert card["created"] > 0
        assert len(card["digest"]) == 64
    assert cards["data"][0]["labels"] == list(CLASSES)


def test_generations(server: Server) -> None:
    body = {"prompt": "a red ship", "n": 3, "seed": 5, "size": "32x32"}
    found = ok(server.post("/v1/images/generations", json=body))
    pngs = [base64.b64decode(image["b64_json"]) for image in found["data"]]
    assert [size_of(png) for png in pngs] == [(32, 32)] * 3
    assert len(set(pngs)) == 3
    sampled = ok(
        server.post(
            "/v1/sample",
            json={"labels": ["ship"], "n": 3, "seed": 5},
            headers={"accept": "application/json"},
        )
    )
    assert [image["b64_json"] for image in sampled["images"]] == [
        image["b64_json"] for image in found["data"]
    ]
    assert {image["label"] for image in sampled["images"]} == {"ship"}


def test_a_sample_is_a_picture_that_a_browser_shows(server: Server) -> None:
    one = server.post("/v1/sample", json={"labels": ["cat"], "seed": 1})
    assert one.headers["content-type"] == "image/png"
    assert one.headers["x-seed"] == "1"
    assert size_of(one.content) == (32, 32)
    sheet = server.post("/v1/sample", json={"n": 6, "columns": 3, "seed": 1})
    assert size_of(sheet.content) == (3 * 34 + 2, 2 * 34 + 2)


def test_documentation_is_served(server: Server) -> None:
    paths = ok(server.get("/docs.json"))["paths"]
    assert {"/classify", "/generate", "/sample"} <= set(paths)
    assert server.get("/").status_code == 200
