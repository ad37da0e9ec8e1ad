"""Sequences: what a client asks the text engine for, and the tokens that come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.sampling import SamplingParameters
from service.telemetry.trail import Trail

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One sequence to be continued.

    Args:
        tokens: at least one.
        max_tokens: most to generate; 0 reads (and scores) the prompt alone.
        seed, row: choose the random sequence.
        stops: token sequences that end the text; they are part of what is delivered.
        top_logprobs: how many alternatives to report with each token; None reports none.
        score_prompt: report log-probabilities of the prompt's own tokens as well.
        stream: deliver tokens as they come rather than all at the end.
        priority: a lower number joins the running batch first.
        repeatable: the client chose the seed, or needs none: the same will be asked for again.

    """

    tokens: tuple[int, ...]
    max_tokens: int
    sampling: SamplingParameters
    seed: int
    row: int
    stops: tuple[tuple[int, ...], ...] = ()
    top_logprobs: int | None = None
    score_prompt: bool = False
    stream: bool = False
    priority: int = 2
    repeatable: bool = False

    @property
    def key(self) -> Prompt:
        """What the tokens depend on, alike for all who ask for the same."""
        return replace(self, stream=False, priority=0, repeatable=True)


@dataclass(slots=True)
class Token:
    """A token, its log-probability in nats and the most likely ones with theirs.

    `logprob` is None where none was asked for and for the first token of a prompt, which nothing
    precedes.
    """

    index: int
    logprob: float | None = None
    top: list[tuple[int, float]] | None = None


def scored_token(index: int, logprob_V: NDArray[np.float64], top: int) -> Token:
    """A token with its log-probability [V] in nats and the `top` likeliest ones."""
    order = np.argsort(-logprob_V, kind="stable")[:top].tolist()
    return Token(index, float(logprob_V[index]), [(i, float(logprob_V[i])) for i in order])


@dataclass(frozen=True, slots=True)
class Written:
    """A whole sequence: what a stream delivered until its end."""

    tokens: list[Token]
    scored: list[Token]
    finish_reason: FinishReason

    @property
    def bytes(self) -> int:
        """About what it takes in memory."""
        return sum(64 + 96 * len(token.top or ()) for token in (*self.tokens, *self.scored))


@dataclass(slots=True, eq=False)
class Stream:
    """Tokens of one sequence as they come: `async for tokens in stream`. Lives on the loop.

    The last ones, which may be none, come when `finish_reason` is set.
    """

    prompt: Prompt
    loop: asyncio.AbstractEventLoop
    submitted_s: float
    queue_s: float = 0.0
    finish_reason: FinishReason | None = None
    scored: list[Token] = field(default_factory=list)
    cancelled: bool = False
    on_cancel: Callable[[], None] | None = None
    on_end: Callable[[Written], None] | None = None
    """Called with the whole, if it came to its end."""
    trail: Trail | None = None
    """Where it is noted what came."""
    together: int = 0
    """Sequences that were read and written at once when it joined them, itself included."""
    _made: list[Token] = field(default_factory=list)
    _ready: list[Token] = field(default_factory=list)
    _ended: bool = False
    _told: bool = False
    _error: Exception | None = None
    _waiter: asyncio.Future[None] | None = None

    def cancel(self) -> None:
        """Take the sequence out at its next step."""
        self.cancelled = True
        if self.on_cancel is not None:
            self.on_cancel()

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> list[Token]:
        while not self._ready and not self._ended:
            self._waiter = self.loop.create_future()
            await self._waiter
        if self._error is not None:
            raise self._error
        if self._told:
            raise StopAsyncIteration
        self._told = self._ended
        tokens, self._ready = self._ready, []
        return tokens

    def deliver(
        self, tokens: list[Token], finish: FinishReason | None, error: Exception | None = None
    ) -> None:
        """Called on the loop by the stepper."""
        self._ready.extend(tokens)
        if self.trail is not None:
            self.trail.wrote(
                len(tokens),
                self.submitted_s + self.queue_s,
                self.together,
                ended=finish is not None,
            )
        if self.on_end is not None:
            self._made.extend(tokens)
            if finish is not None:
                self.on_end(Written(self._made, self.scored, finish))
        if finish is not None or error is not None:
            self.finish_reason, self._error, self._ended = finish, error, True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
