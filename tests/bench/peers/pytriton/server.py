"""Triton behind PyTriton: its HTTP server and dynamic batcher, the work in Python."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from work import classifier, decode


@batch
def pictures(image: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """`image` BYTES [N, 1] -> `label` BYTES [N, 1], `score` FP32 [N, 1]."""
    answers = classifier().classify([decode(body) for body in image[:, 0]])
    return {
        "label": np.char.encode([[answer["label"]] for answer in answers]),
        "score": np.array([[answer["score"]] for answer in answers], dtype=np.float32),
    }


@batch
def tensors(image: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """`image` UINT8 [N, H, W, 3] -> `probability` FP32 [N, C]."""
    return {"probability": classifier().probabilities(image)}


def main() -> None:
    """Serve on the given port and the two after it."""
    port = int(sys.argv[1])
    ports = {"http_port": port, "grpc_port": port + 1, "metrics_port": port + 2}
    limits = ModelConfig(
        max_batch_size=64, batcher=DynamicBatcher(max_queue_delay_microseconds=2000)
    )
    size = classifier().size
    with Triton(config=TritonConfig(http_address="127.0.0.1", **ports)) as triton:
        triton.bind(
            model_name="pictures",
            infer_func=pictures,
            inputs=[Tensor(name="image", dtype=bytes, shape=(1,))],
            outputs=[
                Tensor(name="label", dtype=bytes, shape=(1,)),
                Tensor(name="score", dtype=np.float32, shape=(1,)),
            ],
            config=limits,
        )
        triton.bind(
            model_name="tensors",
            infer_func=tensors,
            inputs=[Tensor(name="image", dtype=np.uint8, shape=size)],
            outputs=[Tensor(name="probability", dtype=np.float32, shape=(-1,))],
            config=limits,
        )
        triton.serve()


if __name__ == "__main__":
    main()
