"""What is sent: pictures as JPEG or as tensors, prompts, noise."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.loading import golden
from service.store import Store
from tests.bench.bare import decode

_DATATYPES = {"uint8": "UINT8", "int64": "INT64", "float32": "FP32"}


def sample_jpeg(store: Store, *, height: int = 32, width: int = 32) -> bytes:
    """A JPEG, quality 90: the first golden picture of the store's generator, else soft noise."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
    for name in store.names():
        version = store.current(name)
        if store.verified(name, version).kind == "gan":
            _, outputs = golden(store.folder(name, version))
            pixels = outputs["image"][0]
            break
    picture = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=90)
    return buffer.getvalue()


def image_batch(jpeg: bytes, rows: int) -> NDArray[np.uint8]:
    """The picture `rows` times, uint8 [N, H, W, 3]."""
    return np.stack([decode(jpeg)] * rows)


def text_request(characters: int, *, stream: bool) -> bytes:
    """A completion of exactly so many characters, sampled at temperature 1."""
    asked = {"prompt": "ROMEO:", "max_tokens": characters, "seed": 1, "stream": stream}
    return json.dumps(asked).encode()


def infer_request(
    inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]
) -> tuple[dict[str, str], bytes]:
    """Headers and body of an inference request of the Open Inference Protocol, all binary."""
    header = json.dumps(
        {
            "inputs": [
                {
                    "name": name,
                    "shape": list(array.shape),
                    "datatype": _DATATYPES[array.dtype.name],
                    "parameters": {"binary_data_size": array.nbytes},
                }
                for name, array in inputs.items()
            ],
            "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in outputs],
        }
    ).encode()
    body = header + b"".join(array.tobytes() for array in inputs.values())
    return {"Inference-Header-Content-Length": str(len(header))}, body
