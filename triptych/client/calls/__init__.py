"""Every request that the clients send, as a `Call`.

Both clients make their methods of these functions, so that each is written, typed and documented
once. Nothing here touches the network.
"""

from triptych.client.calls.images import classify, classify_encoded
from triptych.client.calls.models import models, ready
from triptych.client.calls.pictures import grid, sample
from triptych.client.calls.tensors import infer
from triptych.client.calls.text import detokenize, generate, stream, tokenize

__all__ = [
    "classify",
    "classify_encoded",
    "detokenize",
    "generate",
    "grid",
    "infer",
    "models",
    "ready",
    "sample",
    "stream",
    "tokenize",
]
