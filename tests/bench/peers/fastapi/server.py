"""FastAPI without batching: the body is read on the loop, the work done on a thread."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from work import Answer, classifier, decode

model = classifier()
app = FastAPI()


def _classify(body: bytes) -> Answer:
    return model.classify([decode(body)])[0]


def _infer(body: bytes) -> bytes:
    return model.probabilities(model.tensor(body)).tobytes()


@app.get("/ready")
async def ready() -> dict[str, bool]:
    return {"ready": True}


@app.post("/classify")
async def classify(request: Request) -> Answer:
    return await run_in_threadpool(_classify, await request.body())


@app.post("/infer")
async def infer(request: Request) -> Response:
    return Response(await run_in_threadpool(_infer, await request.body()))
