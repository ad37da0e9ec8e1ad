"""The loads: what is sent, over how many connections, and the bare loop that bounds it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from service.contract import Manifest
from service.store import Store
from tests.bench.bodies import image_batch, infer_request, sample_jpeg, text_request
from tests.bench.client import Load

BATCH = 64
TEXT_CHARS = 256
PICTURES = 16
STREAMS = 32


@dataclass(frozen=True)
class Limit:
    """Bare loops over one graph: the first bounds the cases, others are reported beside it."""

    graph: Path
    loops: tuple[str, ...]
    rows: int
    body: bytes = b""


@dataclass(frozen=True)
class Case:
    """One line of the report. `key` is `<load>@<connections>`."""

    load: str
    title: str
    unit: str
    path: str
    content_type: str
    body: bytes
    connections: int
    units_per_request: int
    limit: Limit
    headers: Mapping[str, str] = field(default_factory=dict)
    characters: int = 0

    @property
    def key(self) -> str:
        """Its name in goals and on the command line."""
        return f"{self.load}@{self.connections}"

    def of(self, duration_s: float) -> Load:
        """What the client sends for so long."""
        return Load(
            self.path,
            self.content_type,
            self.body,
            self.connections,
            duration_s,
            self.headers,
            self.characters,
        )


def find_cases(store: Store) -> list[Case]:
    """Every load that the store's models can take, one model of each kind."""
    found: list[Case] = []
    seen: set[str] = set()
    for name in store.names():
        version = store.current(name)
        manifest = store.verified(name, version)
        if manifest.kind not in seen and manifest.kind in _OF_KIND:
            seen.add(manifest.kind)
            graph = store.folder(name, version) / manifest.graph
            found += _OF_KIND[manifest.kind](store, manifest, graph)
    return found


def _cnn(store: Store, manifest: Manifest, graph: Path) -> Iterator[Case]:
    height, width = (int(axis) for axis in manifest.input("image").shape[1:3])
    jpeg = sample_jpeg(store, height=height, width=width)
    limit = Limit(graph, ("classify",), BATCH, jpeg)
    for connections in (1, 16, 64, 256, 1000):
        yield Case("classify", "classify, one JPEG a request", "images", "/v1/classify",
                   "image/jpeg", jpeg, connections, 1, limit)  # fmt: skip
    headers, body = infer_request({"image": image_batch(jpeg, BATCH)}, ["probability"])
    limit = Limit(graph, ("tensors",), BATCH, jpeg)
    for connections in (1, 4):
        yield Case("tensors", f"infer, tensors of {BATCH} images", "images",
                   f"/v2/models/{manifest.name}/infer", "application/octet-stream", body,
                   connections, BATCH, limit, headers)  # fmt: skip


def _lstm(_: Store, manifest: Manifest, graph: Path) -> Iterator[Case]:
    for connections in (1, STREAMS):
        limit = Limit(graph, ("write", "step_text"), connections)
        for load, title in (("stream", "completions, streamed"), ("whole", "completions, whole")):
            streamed = load == "stream"
            yield Case(load, title, "characters", "/v1/completions", "application/json",
                       text_request(TEXT_CHARS, stream=streamed), connections, TEXT_CHARS, limit,
                       characters=TEXT_CHARS if streamed else 0)  # fmt: skip


def _gan(_: Store, manifest: Manifest, graph: Path) -> Iterator[Case]:
    width = manifest.input("noise").shape[1]
    noise_NZ = np.random.default_rng(0).standard_normal((PICTURES, int(width)), dtype=np.float32)
    inputs = {"noise": noise_NZ, "label": np.zeros(PICTURES, dtype=np.int64)}
    headers, body = infer_request(inputs, ["image"])
    limit = Limit(graph, ("draw",), PICTURES)
    for connections in (1, 4):
        yield Case("draw", f"infer, {PICTURES} pictures as tensors", "images",
                   f"/v2/models/{manifest.name}/infer", "application/octet-stream", body,
                   connections, PICTURES, limit, headers)  # fmt: skip
    sheet = json.dumps({"n": PICTURES, "seed": 1}).encode()
    limit = Limit(graph, ("draw_png",), PICTURES)
    for connections in (1, 4):
        yield Case("sheet", f"sample, {PICTURES} pictures as PNG", "images", "/v1/sample",
                   "application/json", sheet, connections, PICTURES, limit)  # fmt: skip


_OF_KIND = {"cnn": _cnn, "lstm": _lstm, "gan": _gan}
