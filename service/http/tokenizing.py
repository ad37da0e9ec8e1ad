"""The tokenizer's routes: `/v1/tokenize` and `/v1/detokenize`, and vLLM's names for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.contract import Manifest
from service.http.answers import json_answer
from service.http.bodies import read_json
from service.http.exchange import framed
from service.http.tokens import (
    DetokenizeRequest,
    TokenizeRequest,
    detokenize,
    tokenize,
    tokenizer_info,
)
from service.metrics import RequestMeter
from service.settings import Settings
from service.vocabulary import Vocabulary

_tokenize_decoder = msgspec.json.Decoder(TokenizeRequest)
_detokenize_decoder = msgspec.json.Decoder(DetokenizeRequest)


class Tokenizer(Protocol):
    """A loaded model that has a vocabulary."""

    manifest: Manifest
    vocabulary: Vocabulary


Lease = Callable[[str | None], AbstractContextManager[Tokenizer]]
"""Lends the model of that name, the default one for None, for as long as the context lasts."""


def tokenizer_routes(lease: Lease, decoders: Executor, settings: Settings) -> list[Route]:
    """The routes over the models that `lease` lends."""
    max_bytes = settings.max_body_bytes

    async def encode(request: Request, meter: RequestMeter) -> Response:
        asked = await read_json(request, _tokenize_decoder, max_bytes=max_bytes)
        with lease(asked.model) as model:
            meter.model = model.manifest.name
            # On a thread: a body may hold millions of characters.
            tokens = await asyncio.get_running_loop().run_in_executor(
                decoders,
                lambda: tokenize(
                    asked, model.manifest, model.vocabulary, max_chars=settings.max_prompt_chars
                ),
            )
            return json_answer(tokens)

    async def decode(request: Request, meter: RequestMeter) -> Response:
        asked = await read_json(request, _detokenize_decoder, max_bytes=max_bytes)
        with lease(asked.model) as model:
            meter.model = model.manifest.name
            text = await asyncio.get_running_loop().run_in_executor(
                decoders, detokenize, asked, model.manifest, model.vocabulary
            )
            return json_answer(text)

    async def describe(request: Request, meter: RequestMeter) -> Response:
        with lease(request.query_params.get("model")) as model:
            meter.model = model.manifest.name
            return json_answer(tokenizer_info(model.manifest, model.vocabulary))

    tokens, text = framed("tokenize", encode), framed("tokenize", decode)
    return [
        Route("/v1/tokenize", tokens, methods=["POST"]),
        Route("/v1/detokenize", text, methods=["POST"]),
        # vLLM's own names, which evaluation harnesses look for.
        Route("/tokenize", tokens, methods=["POST"]),
        Route("/detokenize", text, methods=["POST"]),
        Route("/tokenizer_info", framed("tokenize", describe)),
    ]
