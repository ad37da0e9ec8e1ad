"""Ray Serve: one replica on one CPU, batches of up to 64; tensors as raw bytes."""

from __future__ import annotations

import asyncio
import signal
import sys

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response
from work import Answer, classifier, decode


@serve.deployment(
    num_replicas=1,
    max_ongoing_requests=256,
    ray_actor_options={"num_cpus": 1},
    logging_config={"enable_access_log": False},
)
class Peer:
    """Pictures are batched; a tensor is a batch already."""

    def __init__(self) -> None:
        self.model = classifier()

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.002)
    async def classify(self, bodies: list[bytes]) -> list[Answer]:
        return await asyncio.to_thread(
            lambda: self.model.classify([decode(body) for body in bodies])
        )

    def infer(self, body: bytes) -> bytes:
        return self.model.probabilities(self.model.tensor(body)).tobytes()

    async def __call__(self, request: Request) -> Answer | Response:
        body = await request.body()
        if request.url.path.endswith("/classify"):
            return await self.classify(body)
        return Response(await asyncio.to_thread(self.infer, body))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that ray ends what it started
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Peer.bind(), blocking=True)
