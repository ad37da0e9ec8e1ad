"""BentoML as its guide has it: adaptive batching of pictures, a tensor as an uploaded body."""

from __future__ import annotations

from pathlib import Path

import bentoml
import numpy as np
from PIL.Image import Image
from work import Answer, classifier


@bentoml.service(workers=1, traffic={"timeout": 60})
class Peer:
    """One worker; a second thread for its methods made it no faster."""

    def __init__(self) -> None:
        self.model = classifier()

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=10_000)
    def classify(self, images: list[Image]) -> list[Answer]:
        return self.model.classify([np.asarray(image.convert("RGB")) for image in images])

    @bentoml.api
    def infer(self, body: Path, /) -> bytes:
        return self.model.probabilities(self.model.tensor(body.read_bytes())).tobytes()
