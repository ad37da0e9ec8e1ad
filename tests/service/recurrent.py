"""A small recurrent network, and the plain loop that a stepper must agree with."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from service.noise import Uniforms
from service.sampling import Sampler, SamplingParameters, log_softmax
from service.sequences import Prompt, Token

VOCABULARY, STATE = 11, 6
POISON = VOCABULARY - 1
"""A graph that is armed fails on this token."""


class Turnstile(threading.Event):
    """A gate that lets one step through for each `admit`, and all of them once it is set."""

    def __init__(self) -> None:
        super().__init__()
        self._passes = threading.Semaphore(0)

    def admit(self) -> None:
        self._passes.release()

    def set(self) -> None:
        super().set()
        self._passes.release()

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set() or self._passes.acquire(timeout=timeout)


class Graph:
    """A small recurrent network, the same whatever the batch: it takes rows one by one."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.embedding_VS = rng.standard_normal((VOCABULARY, STATE))
        self.recurrence_SS = rng.standard_normal((STATE, STATE)) * 0.5
        self.head_SV = rng.standard_normal((STATE, VOCABULARY)) * 1.5
        self.shapes: list[tuple[int, int]] = []
        self.armed = False
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def run(
        self, token_NT: NDArray[np.int64], state_NS: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        assert token_NT.dtype == np.int64
        assert state_NS.dtype == np.float32
        self.entered.release()
        assert self.gate.wait(30)
        rows, length = token_NT.shape
        assert state_NS.shape == (rows, STATE)
        self.shapes.append((rows, length))
        if self.armed and (token_NT == POISON).any():
            raise ValueError("poison")
        logits_NTV = np.empty((rows, length, VOCABULARY), dtype=np.float32)
        state_out_NS = np.empty((rows, STATE), dtype=np.float32)
        for row in range(rows):
            state_S = state_NS[row].astype(float)
            for position in range(length):
                embedded_S = self.embedding_VS[token_NT[row, position]]
                state_S = np.tanh(embedded_S + state_S @ self.recurrence_SS)
                logits_NTV[row, position] = state_S @ self.head_SV
            state_out_NS[row] = state_S
        return logits_NTV, state_out_NS

    def bind(
        self,
        token_N1: NDArray[np.int64],
        state_NS: NDArray[np.float32],
        logits_N1V: NDArray[np.float32],
        state_out_NS: NDArray[np.float32],
    ) -> Callable[[], None]:
        def step() -> None:
            logits_N1V[:], state_out_NS[:] = self.run(token_N1, state_NS)

        return step


@dataclass
class Written:
    """All that comes of a sequence."""

    tokens: list[Token]
    finish: str | None
    scored: list[Token]


def write_alone(prompt: Prompt) -> Written:
    """The plain loop: the prompt in the chunks that are promised, then token by token."""
    graph = Graph()
    state_NS = np.zeros((1, STATE), dtype=np.float32)
    position, rows = 0, []
    while position < len(prompt.tokens):
        left = len(prompt.tokens) - position
        chunk = max(size for size in (64, 32, 16, 8, 4, 2, 1) if size <= left)
        part = np.array([prompt.tokens[position : position + chunk]], dtype=np.int64)
        logits_NTV, state_NS = graph.run(part, state_NS)
        rows.append(logits_NTV[0])
        position += chunk
    logits_TV = np.concatenate(rows)
    scored: list[Token] = []
    if prompt.score_prompt:
        scored.append(Token(prompt.tokens[0]))
        for before, index in zip(logits_TV, prompt.tokens[1:], strict=False):
            scored.append(token(index, before, prompt.top_logprobs or 0))
    sampler, uniforms = Sampler([prompt.sampling], VOCABULARY), Uniforms(prompt.seed, prompt.row)
    made: list[Token] = []
    logits_V = logits_TV[-1]
    while len(made) < prompt.max_tokens:
        (index,) = sampler.choose(logits_V[None], uniforms.take(1))
        if prompt.top_logprobs is None:
            made.append(Token(index))
        else:
            made.append(token(index, logits_V, prompt.top_logprobs))
        text = tuple(one.index for one in made)
        if any(text[len(text) - len(stop) :] == stop for stop in prompt.stops):
            return Written(made, "stop", scored)
        logits_NTV, state_NS = graph.run(np.array([[index]], dtype=np.int64), state_NS)
        logits_V = logits_NTV[0, 0]
    return Written(made, "length", scored)


def token(index: int, logits_V: NDArray[np.float32], top: int) -> Token:
    logprob_V = log_softmax(logits_V[None])[0]
    best = sorted(range(VOCABULARY), key=lambda other: (-logprob_V[other], other))[:top]
    return Token(index, float(logprob_V[index]), [(one, float(logprob_V[one])) for one in best])


def draw_prompt(rng: random.Random) -> Prompt:
    length = rng.choice([1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 150])
    return Prompt(
        tokens=tuple(rng.randrange(VOCABULARY) for _ in range(length)),
        max_tokens=rng.choice([0, 1, 2, 10, 40]),
        sampling=SamplingParameters(
            temperature=rng.choice([0.0, 0.5, 1.0, 1.0]),
            top_k=rng.choice([0, 0, 3]),
            top_p=rng.choice([1.0, 1.0, 0.7]),
        ),
        seed=rng.randrange(2**63),
        row=rng.randrange(4),
        stops=tuple(
            tuple(rng.randrange(VOCABULARY) for _ in range(rng.choice([1, 2, 3])))
            for _ in range(rng.choice([0, 0, 1, 3]))
        ),
        top_logprobs=rng.choice([None, None, 0, 3]),
        score_prompt=rng.random() < 0.3,
        stream=rng.random() < 0.5,
    )


def never_poisonous() -> Prompt:
    """A prompt whose text stays clear of the poisonous token."""
    for start in range(POISON):
        prompt = replace(SIMPLE, tokens=(start,), sampling=SamplingParameters(temperature=0))
        if POISON not in {one.index for one in write_alone(prompt).tokens}:
            return prompt
    raise AssertionError("choose other weights")


SIMPLE = Prompt(tokens=(1, 2, 3), max_tokens=20, sampling=SamplingParameters(), seed=5, row=0)
