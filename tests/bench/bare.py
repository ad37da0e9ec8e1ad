"""The limit: the same models and bodies in a bare loop, without a server.

Run as a process of its own, pinned to the server's cores, one intra-op thread:
`python -m tests.bench.bare <case> <store> <duration_s>` prints units, seconds and CPU-seconds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from service.images import decode_image, encode_png, tile
from service.loading import LoadedModel, load
from service.noise import normal
from service.store import Store
from tests.bench.bodies import sample_jpeg


def _model(store: Store, kind: str) -> LoadedModel:
    for name in store.names():
        version = store.current(name)
        if store.verified(name, version).kind == kind:
            return load(store, name, version, provider="cpu", warm_rows=(1, 64))
    raise SystemExit(f"the store has no {kind}")


def classify(store: Store, rows: int) -> Callable[[], int]:
    """Decode `rows` JPEG bodies, run them as one batch."""
    model = _model(store, "cnn")
    body = sample_jpeg(store)
    height, width = (int(axis) for axis in model.manifest.input("image").shape[1:3])

    def step() -> int:
        images = [
            decode_image(body, height=height, width=width, max_pixels=10**6) for _ in range(rows)
        ]
        model.session.run({"image": np.stack(images)}, ("probability",))
        return rows

    return step


def write(store: Store, rows: int) -> Callable[[], int]:
    """Step `rows` sequences by one character, taking the likeliest."""
    model = _model(store, "lstm")
    width = int(model.manifest.input("state").shape[1])
    token_N1 = np.zeros((rows, 1), dtype=np.int64)
    state_NS = np.zeros((rows, width), dtype=np.float32)

    def step() -> int:
        nonlocal token_N1, state_NS
        outputs = model.session.run({"token": token_N1, "state": state_NS})
        token_N1 = outputs["logits"].argmax(axis=2)
        state_NS = outputs["state_out"]
        return rows

    return step


def draw(store: Store, rows: int) -> Callable[[], int]:
    """Draw `rows` pictures and encode them as one PNG sheet."""
    model = _model(store, "gan")
    width = int(model.manifest.input("noise").shape[1])
    label_N = np.arange(rows) % len(model.manifest.labels)

    def step() -> int:
        noise_NZ = normal(1, 0, rows, width)
        outputs = model.session.run({"noise": noise_NZ, "label": label_N})
        encode_png(tile(outputs["image"], columns=4))
        return rows

    return step


LOOPS: dict[str, Callable[[Store, int], Callable[[], int]]] = {
    "classify": classify,
    "write": write,
    "draw": draw,
}


def main() -> None:
    """Run one loop for a while."""
    case, rows, store, duration_s = sys.argv[1:5]
    step = LOOPS[case](Store(Path(store)), int(rows))
    step()
    units = 0
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    while time.perf_counter() - start_s < float(duration_s):
        units += step()
    json.dump(
        {
            "units": units,
            "elapsed_s": time.perf_counter() - start_s,
            "cpu_s": time.process_time() - start_cpu_s,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
