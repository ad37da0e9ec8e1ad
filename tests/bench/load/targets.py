"""What is asked of a service: a request for each endpoint, made from what `/v1/models` says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from tests.bench.bodies import infer_request
from tests.bench.load.pictures import draw_picture

COMPLETION_CHARS = 64
SAMPLES = 4
PICTURES = 32
PROMPT = "ROMEO:"
USUAL_OBJECTIVE_MS = 50.0
WHOLE_TEXT_OBJECTIVE_MS = 500.0
SHARES = {"classify": 0.70, "infer": 0.10, "sample": 0.10, "completions": 0.05, "stream": 0.05}
"""Of the mix; kinds of models that the service lacks leave their share to the others."""


@dataclass(frozen=True)
class Target:
    """An endpoint and what is sent to it.

    Args:
        name: as on the command line.
        title: as in the report.
        path: with its query.
        content_type: of the bodies.
        bodies: sent in turn.
        headers: more of them.
        objective_ms: the p99 that is asked for.
        judged: what is held against it: the whole answer, or the first event of a stream.
        expects: the status of a good answer.
        abandon_s: the client closes the connection after so long; 0: it does not.

    """

    name: str
    title: str
    path: str
    content_type: str
    bodies: tuple[bytes, ...]
    headers: Mapping[str, str] = field(default_factory=dict)
    objective_ms: float = USUAL_OBJECTIVE_MS
    judged: Literal["whole", "first"] = "whole"
    expects: int = 200
    abandon_s: float = 0.0

    def requests(self, host: str) -> list[bytes]:
        """The bytes on the wire, one for each body."""
        return [self._request(host, body) for body in self.bodies]

    def _request(self, host: str, body: bytes) -> bytes:
        lines = [
            f"POST {self.path} HTTP/1.1",
            f"host: {host}",
            f"content-type: {self.content_type}",
            f"content-length: {len(body)}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body


def find_targets(
    models: Sequence[Mapping[str, Any]], objectives_ms: Mapping[str, float]
) -> dict[str, Target]:
    """Every endpoint that the models can answer: the first model of each kind.

    Args:
        models: `data` of `/v1/models`.
        objectives_ms: p99 by endpoint; the others keep their own.

    Raises:
        ValueError: an objective for an endpoint that there is not.

    """
    found: dict[str, Target] = {}
    for model in models:
        for target in _OF_KIND.get(model["kind"], _none)(model, objectives_ms):
            found.setdefault(target.name, target)
    if unknown := set(objectives_ms) - set(found):
        raise ValueError(f"there is no endpoint {min(unknown)!r}; there is {', '.join(found)}")
    return found


def _none(_: Mapping[str, Any], __: Mapping[str, float]) -> Iterator[Target]:
    return iter(())


def _cnn(model: Mapping[str, Any], objectives_ms: Mapping[str, float]) -> Iterator[Target]:
    name = model["id"]
    yield Target(
        "classify", "classify, one JPEG", f"/v1/classify?model={name}", "image/jpeg",
        tuple(draw_picture(seed) for seed in range(PICTURES)),
        objective_ms=objectives_ms.get("classify", USUAL_OBJECTIVE_MS),
    )  # fmt: skip
    shape = model["inputs"][0]["shape"]
    image = np.random.default_rng(0).integers(0, 256, (1, *shape[1:]), dtype=np.uint8)
    headers, body = infer_request({"image": image}, ["probability"])
    yield Target(
        "infer", "infer, one image as a tensor", f"/v2/models/{name}/infer",
        "application/octet-stream", (body,), headers,
        objectives_ms.get("infer", USUAL_OBJECTIVE_MS),
    )  # fmt: skip


def _lstm(model: Mapping[str, Any], objectives_ms: Mapping[str, float]) -> Iterator[Target]:
    vocabulary = model["vocabulary"]
    prompt = PROMPT if set(PROMPT) <= set(vocabulary) else vocabulary[0]
    for name, stream in (("completions", False), ("stream", True)):
        asked = {"model": model["id"], "prompt": prompt, "max_tokens": COMPLETION_CHARS,
                 "stream": stream}  # fmt: skip
        title = f"completions of {COMPLETION_CHARS} characters, {'first' if stream else 'whole'}"
        usual_ms = USUAL_OBJECTIVE_MS if stream else WHOLE_TEXT_OBJECTIVE_MS
        yield Target(
            name, title, "/v1/completions", "application/json", (json.dumps(asked).encode(),),
            objective_ms=objectives_ms.get(name, usual_ms), judged="first" if stream else "whole",
        )  # fmt: skip


def _gan(model: Mapping[str, Any], objectives_ms: Mapping[str, float]) -> Iterator[Target]:
    bodies = tuple(
        json.dumps({"model": model["id"], "labels": [label], "n": SAMPLES}).encode()
        for label in model["labels"]
    )
    yield Target(
        "sample", f"sample, {SAMPLES} pictures as PNG", "/v1/sample", "application/json", bodies,
        {"accept": "image/png"}, objectives_ms.get("sample", USUAL_OBJECTIVE_MS),
    )  # fmt: skip


_OF_KIND = {"cnn": _cnn, "lstm": _lstm, "gan": _gan}


def disturbances(targets: Mapping[str, Target]) -> list[Target]:
    """Bad requests, and clients that leave: what a service meets in the long run."""
    found = [
        Target("no image", "a file that is no image", "/v1/classify", "image/jpeg",
               (b"\xff\xd8 not a picture",), expects=422),
        Target("no JSON", "a body that is cut off", "/v1/completions", "application/json",
               (b'{"prompt": "a', b"{}"), expects=400),
    ]  # fmt: skip
    needs = {"no image": "classify", "no JSON": "completions"}
    kept = [target for target in found if needs[target.name] in targets]
    if stream := targets.get("stream"):
        kept.append(
            Target("leaving", "a client that leaves its stream", stream.path, stream.content_type,
                   stream.bodies, abandon_s=0.02)
        )  # fmt: skip
    return kept
