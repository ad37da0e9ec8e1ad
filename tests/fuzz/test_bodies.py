"""Damaged pictures and malformed bodies, over every protocol: refused, and nothing else happens."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.cases import Arrays
from tests.e2e.oip import draw, in_json, manifest_of
from tests.e2e.server import Server
from tests.fuzz import CASES
from tests.fuzz.bombard import GROWTH_MIB, Heard, Sent, bombard, workers
from tests.fuzz.damage import damaged, damaged_picture
from tests.fuzz.malformed import form, malformed_json
from tests.pictures import picture

JSON = {"content-type": "application/json"}
FORM = {"content-type": "multipart/form-data; boundary=limit"}
REFUSED = {400, 404, 413, 415, 422}
COMPLETION = {
    "model": "shakespeare", "prompt": ["The cat", "a"], "max_tokens": 2, "temperature": 0.5, "n": 1,
    "top_p": 0.9, "top_k": 3, "seed": 1, "stop": ["q"], "echo": False, "logprobs": 2,
    "stream": False, "user": "me",
}  # fmt: skip
GENERATION = {"prompt": "a cat", "n": 1, "size": "32x32", "response_format": "b64_json", "seed": 1}
SAMPLE = {"labels": ["cat"], "n": 2, "seed": 3, "columns": 2, "model": "cifar10-gan"}
GENERATE = {"text_input": "a", "parameters": {"max_tokens": 2, "seed": 1, "stop": ["b"]}}

Make = Callable[[int], Sent]


def of_json(path: str, document: Any, seed: int) -> Sent:
    return Sent(path, malformed_json(document, seed), JSON)


def picture_raw(seed: int) -> Sent:
    return Sent("/v1/classify?top_k=3", damaged_picture(seed))


def picture_in_a_form(seed: int) -> Sent:
    """A whole picture and a damaged one in a form; or the form itself is damaged."""
    whole = form([picture(), damaged_picture(seed)])
    return Sent("/v1/classify", damaged(whole, seed) if seed % 3 == 0 else whole, FORM)


def picture_for_bentoml(seed: int) -> Sent:
    return picture_in_a_form(seed)._replace(path="/classify")


BODIES: dict[str, Make] = {
    "picture": picture_raw,
    "pictures in a form": picture_in_a_form,
    "pictures for BentoML": picture_for_bentoml,
    "completions": partial(of_json, "/v1/completions", COMPLETION),
    "images": partial(of_json, "/v1/images/generations", GENERATION),
    "sample": partial(of_json, "/v1/sample", SAMPLE),
    "tokenize": partial(of_json, "/v1/tokenize", {"prompt": ["a", "b"], "model": "shakespeare"}),
    "detokenize": partial(of_json, "/v1/detokenize", {"tokens": [1, 2], "model": "shakespeare"}),
    "BentoML generate": partial(of_json, "/generate", {"prompt": "a", "max_tokens": 2, "seed": 1}),
    "BentoML sample": partial(of_json, "/sample", {"labels": ["cat"], "n": 1, "seed": 1}),
    "OIP generate": partial(of_json, "/v2/models/shakespeare/generate", GENERATE),
    "OIP index": partial(of_json, "/v2/repository/index", {"ready": True}),
}


@functools.cache
def tensors(store: Path, model: str) -> tuple[Arrays, dict[str, Any]]:
    """Two rows of a model's inputs, and a request for them in JSON."""
    manifest = manifest_of(store, model)
    arrays = draw(manifest, rows=2)
    return arrays, in_json(manifest, arrays, outputs=[{"name": manifest.outputs[0].name}], id="x")


def of_tensors(store: Path, model: str, binary: bool, seed: int) -> Sent:
    """A request to infer whose JSON, or whose bytes, are altered; half of them compressed."""
    path = f"/v2/models/{model}/infer"
    arrays, document = tensors(store, model)
    document = copy.deepcopy(document)
    if not binary:
        return Sent(path, malformed_json(document, seed), JSON)
    for tensor in document["inputs"]:
        del tensor["data"]
        tensor["parameters"] = {"binary_data_size": arrays[tensor["name"]].nbytes}
    head = json.dumps(document).encode() if seed % 2 else malformed_json(document, seed)
    body = head + b"".join(array.tobytes() for array in arrays.values())
    length = str(len(head)) if seed % 7 else ("9" * 30, "-1", "a", "", "0")[seed // 7 % 5]
    return Sent(
        path,
        damaged(body, seed) if seed % 3 == 0 else body,
        {"inference-header-content-length": length}
        | ({"content-encoding": ("gzip", "deflate", "br")[seed % 3]} if seed % 5 == 0 else {}),
    )


@pytest.fixture(scope="module")
def steady(own: Server, tiny_store: Path) -> dict[int, int]:
    """Memory of each process once every route has had its share of odd requests."""
    for make in every(tiny_store).values():
        bombard(own, make, lambda _: True, 100, NEIGHBOUR)
    return workers(own)


def every(store: Path) -> dict[str, Make]:
    tensors = {
        f"tensors of {model}, {'binary' if binary else 'JSON'}": partial(
            of_tensors, store, model, binary
        )
        for model in ("cifar10", "shakespeare", "cifar10-gan")
        for binary in (False, True)
    }
    return BODIES | tensors


NAMES = [*BODIES] + [
    f"tensors of {model}, {form}"
    for model in ("cifar10", "shakespeare", "cifar10-gan")
    for form in ("JSON", "binary")
]
NEIGHBOUR = Sent("/v1/classify?top_k=2", picture(7))


def refused_or_right(heard: Heard) -> bool:
    """200, or a refusal that says why in JSON."""
    if heard.status == 200:
        return True
    if heard.status not in REFUSED or heard.media != "application/json":
        return False
    error = json.loads(heard.body)["error"]
    return bool(error if isinstance(error, str) else error["message"].strip() and "param" in error)


@pytest.mark.parametrize("name", NAMES)
def test_every_body_is_answered_or_refused(
    own: Server, steady: dict[int, int], tiny_store: Path, name: str
) -> None:
    alone = bombard(own, picture_raw, lambda _: True, 1, NEIGHBOUR).neighbour
    outcome = bombard(own, every(tiny_store)[name], refused_or_right, CASES, NEIGHBOUR)
    assert not outcome.wrong, outcome.wrong[:3]
    assert sum(outcome.statuses.values()) == CASES
    assert outcome.statuses.total() > outcome.statuses[200] > 0, "all or none was refused"
    assert set(outcome.neighbour) == set(alone)
    assert len(alone) == 1
    now = workers(own)
    assert set(now) == set(steady), "a process has ended"
    growth_mib = {pid: (now[pid] - steady[pid]) / 2**20 for pid in now}
    assert max(growth_mib.values()) < GROWTH_MIB, growth_mib


def test_bentomls_endpoints_keep_nothing_of_what_they_answered(
    own: Server, steady: dict[int, int]
) -> None:
    """Its own time limit kept 7 KiB of each request until ten minutes had passed."""
    before = workers(own)
    body = json.dumps({"prompt": "a", "max_tokens": 1, "seed": 1}).encode()
    outcome = bombard(own, lambda _: Sent("/generate", body, JSON), lambda _: True, 3000, NEIGHBOUR)
    assert outcome.statuses == {200: 3000}
    now = workers(own)
    assert set(now) == set(steady)
    assert max(now[pid] - before[pid] for pid in now) < 8 * 2**20
