"""LitServe: one worker, batches of up to 64; a request is a picture or a tensor in base64."""

from __future__ import annotations

import base64
import sys
from typing import Any

import litserve as ls
import numpy as np
from work import classifier, decode


class Api(ls.LitAPI):
    """A batch may hold pictures, which run together, and tensors, which run as they came."""

    def setup(self, device: str) -> None:
        self.model = classifier()

    def decode_request(self, request: dict[str, str]) -> Any:
        if "image" in request:
            return decode(base64.b64decode(request["image"]))
        return self.model.tensor(base64.b64decode(request["tensor"]))

    def batch(self, inputs: list[Any]) -> list[Any]:
        return inputs

    def predict(self, batch: list[Any] | Any) -> list[Any]:
        pictures = [one for one in batch if one.ndim == 3]
        answers = iter(self.model.classify(pictures) if pictures else [])
        return [next(answers) if one.ndim == 3 else self.model.probabilities(one) for one in batch]

    def unbatch(self, output: list[Any]) -> list[Any]:
        return output

    def encode_response(self, output: Any) -> Any:
        if isinstance(output, np.ndarray):
            return {"probability": base64.b64encode(output.tobytes()).decode()}
        return output


if __name__ == "__main__":
    server = ls.LitServer(
        Api(max_batch_size=64, batch_timeout=0.002),
        accelerator="cpu",
        workers_per_device=1,
        fast_queue=True,
        timeout=60,
    )
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
