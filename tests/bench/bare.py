"""The limit: the same graph and the same bodies in a bare loop, without a server.

Nothing of the service is in it but its PNG encoder: Pillow decodes, onnxruntime runs with one
intra-op thread, numpy chooses characters. A process of its own, pinned to the server's core:
`python -m tests.bench.bare` reads what to do as JSON, and a body, from standard input, and prints
units, seconds and CPU-seconds.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

from service.images import encode_png, tile

Step = Callable[[], int]
"""Does the work once; returns units done."""


def open_graph(path: str) -> ort.InferenceSession:
    """A session with one intra-op thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def decode(body: bytes) -> NDArray[np.uint8]:
    """A picture as uint8 [H, W, 3], the plain way."""
    with Image.open(io.BytesIO(body)) as image:
        return np.asarray(image.convert("RGB"))


def classify(session: ort.InferenceSession, rows: int, body: bytes) -> Step:
    """Decode `rows` JPEG bodies, run them as one batch."""

    def step() -> int:
        images = np.stack([decode(body) for _ in range(rows)])
        session.run(["probability"], {"image": images})
        return rows

    return step


def tensors(session: ort.InferenceSession, rows: int, body: bytes) -> Step:
    """Run `rows` decoded pictures as one batch."""
    image_NHWC = np.stack([decode(body)] * rows)

    def step() -> int:
        session.run(["probability"], {"image": image_NHWC})
        return rows

    return step


def _text(session: ort.InferenceSession, rows: int, *, sampled: bool) -> Step:
    width = int(session.get_inputs()[1].shape[1])
    token_N1 = np.zeros((rows, 1), dtype=np.int64)
    state_NS = np.zeros((rows, width), dtype=np.float32)
    rng = np.random.default_rng(0)

    def choose(logits_NV: NDArray[np.float32]) -> NDArray[np.int64]:
        if not sampled:
            return logits_NV.argmax(axis=1)
        weight_NV = np.exp(logits_NV - logits_NV.max(axis=1, keepdims=True))
        cumulative_NV = weight_NV.cumsum(axis=1)
        target_N = rng.random(rows, dtype=np.float32) * cumulative_NV[:, -1]
        return (cumulative_NV > target_N[:, None]).argmax(axis=1)

    def step() -> int:
        nonlocal token_N1, state_NS
        feeds = {"token": token_N1, "state": state_NS}
        logits_NTV, state_NS = session.run(["logits", "state_out"], feeds)
        token_N1 = choose(logits_NTV[:, 0])[:, None]
        return rows

    return step


def write(session: ort.InferenceSession, rows: int, _: bytes) -> Step:
    """Step `rows` sequences by one character, drawn from the softmax (as is served)."""
    return _text(session, rows, sampled=True)


def step_text(session: ort.InferenceSession, rows: int, _: bytes) -> Step:
    """Step `rows` sequences by one character, the likeliest (the least a step can cost)."""
    return _text(session, rows, sampled=False)


def _noise(session: ort.InferenceSession, rows: int) -> dict[str, NDArray[Any]]:
    width = int(session.get_inputs()[0].shape[1])
    noise_NZ = np.random.default_rng(0).standard_normal((rows, width), dtype=np.float32)
    return {"noise": noise_NZ, "label": np.zeros(rows, dtype=np.int64)}


def draw(session: ort.InferenceSession, rows: int, _: bytes) -> Step:
    """Draw `rows` pictures from given noise."""
    feeds = _noise(session, rows)

    def step() -> int:
        session.run(["image"], feeds)
        return rows

    return step


def draw_png(session: ort.InferenceSession, rows: int, _: bytes) -> Step:
    """Draw `rows` pictures and encode them as one PNG sheet, with the service's encoder."""
    feeds = _noise(session, rows)

    def step() -> int:
        (image_NHWC,) = session.run(["image"], feeds)
        encode_png(tile(image_NHWC, columns=4))
        return rows

    return step


LOOPS: dict[str, Callable[[ort.InferenceSession, int, bytes], Step]] = {
    "classify": classify,
    "tensors": tensors,
    "write": write,
    "step_text": step_text,
    "draw": draw,
    "draw_png": draw_png,
}


def main() -> None:
    """Run one loop for a while."""
    asked = json.loads(sys.stdin.buffer.readline())
    body = sys.stdin.buffer.read()
    step = LOOPS[asked["loop"]](open_graph(asked["graph"]), asked["rows"], body)
    step()
    units = 0
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    while time.perf_counter() - start_s < asked["duration_s"]:
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
