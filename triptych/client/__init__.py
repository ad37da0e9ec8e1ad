"""A client of a Triptych service, blocking (`Client`) or for asyncio (`AsyncClient`).

    from triptych.client import Client

    with Client("http://localhost:3000") as client:
        print(client.classify("frog.png")[0].label)

It needs httpx and msgspec; numpy for tensors, Pillow for pictures of its own, tqdm for bars.
"""

from triptych.client.answers import (
    Choice,
    Chunk,
    Classification,
    Completion,
    Gallery,
    Grid,
    Inference,
    Logprobs,
    Model,
    Picture,
    Prediction,
    Readiness,
    Score,
    Tensor,
    Tokens,
    Usage,
    Version,
)
from triptych.client.awaiting import AsyncClient
from triptych.client.backoff import Backoff
from triptych.client.blocking import Client
from triptych.client.errors import (
    ConnectionFailedError,
    DeadlineExceededError,
    FailedError,
    InvalidInputError,
    NotFoundError,
    OverloadedError,
    RefusedError,
    StreamBrokenError,
    TooLargeError,
    TriptychClientError,
    UnauthorisedError,
    UnavailableError,
    UnexpectedAnswerError,
)
from triptych.client.streams import AsyncTextStream, TextStream

__all__ = [
    "AsyncClient",
    "AsyncTextStream",
    "Backoff",
    "Choice",
    "Chunk",
    "Classification",
    "Client",
    "Completion",
    "ConnectionFailedError",
    "DeadlineExceededError",
    "FailedError",
    "Gallery",
    "Grid",
    "Inference",
    "InvalidInputError",
    "Logprobs",
    "Model",
    "NotFoundError",
    "OverloadedError",
    "Picture",
    "Prediction",
    "Readiness",
    "RefusedError",
    "Score",
    "StreamBrokenError",
    "Tensor",
    "TextStream",
    "Tokens",
    "TooLargeError",
    "TriptychClientError",
    "UnauthorisedError",
    "UnavailableError",
    "UnexpectedAnswerError",
    "Usage",
    "Version",
]
