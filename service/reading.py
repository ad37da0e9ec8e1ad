"""A prompt as it is read, chunk by chunk, before its sequence joins the running batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from service.block import Graph, Row
from service.sampling import log_softmax
from service.sequences import Stream, Token, scored_token

_CHUNKS = (64, 32, 16, 8, 4, 2, 1)
"""A prompt is read in these, largest first, so that prompts of all lengths share batches, and each
is cut the same way whoever else is there."""


class Reader:
    """A sequence whose prompt is being read.

    Args:
        stream: the sequence.
        state_width: of the state that the graph hands on.

    """

    __slots__ = ("position", "row", "state_S", "stream")

    def __init__(self, stream: Stream, state_width: int) -> None:
        self.stream = stream
        self.row = Row(stream)
        self.state_S = np.zeros(state_width, dtype=np.float32)
        self.position = 0

    @property
    def whole(self) -> bool:
        """Whether all of it is read."""
        return self.position == len(self.stream.prompt.tokens)

    def next_chunk(self) -> int:
        """How many tokens are read next."""
        left = len(self.stream.prompt.tokens) - self.position
        return next(chunk for chunk in _CHUNKS if chunk <= left)

    def tokens(self, chunk: int) -> tuple[int, ...]:
        """The next `chunk` tokens."""
        return self.stream.prompt.tokens[self.position : self.position + chunk]

    def advance(self, logits_TV: NDArray[np.float32], state_S: NDArray[np.float32]) -> None:
        """Take note of a chunk that was read: of its tokens' scores, and of the state after it."""
        if self.stream.prompt.score_prompt:
            self._score(logits_TV)
        self.state_S = state_S
        self.position += len(logits_TV)

    def _score(self, logits_TV: NDArray[np.float32]) -> None:
        """Log-probabilities of the prompt's own tokens in this chunk and the one after it."""
        prompt, scored = self.stream.prompt, self.stream.scored
        if self.position == 0:
            scored.append(Token(prompt.tokens[0]))
        following = prompt.tokens[self.position + 1 : self.position + 1 + len(logits_TV)]
        for index, logprob_V in zip(following, log_softmax(logits_TV), strict=False):
            scored.append(scored_token(index, logprob_V, prompt.top_logprobs or 0))


_Failed = list[tuple[Stream, Exception]]


class Readers:
    """Prompts that are being read, in the order in which they came.

    Args:
        graph: what reads them.
        state_width: of the state that the graph hands on.
        on_run: told after each run of its rows and of when it began, by `time.perf_counter`.

    """

    def __init__(
        self, graph: Graph, *, state_width: int, on_run: Callable[[int, float], None]
    ) -> None:
        self._graph = graph
        self._state_width = state_width
        self._on_run = on_run
        self._readers: list[Reader] = []

    def __len__(self) -> int:
        return len(self._readers)

    def add(self, stream: Stream) -> None:
        """Let one begin."""
        self._readers.append(Reader(stream, self._state_width))

    def drop_cancelled(self) -> None:
        """Let those go whose client has left."""
        self._readers = [reader for reader in self._readers if not reader.stream.cancelled]

    def give_up(self) -> list[Stream]:
        """Let all go; they are returned."""
        readers, self._readers = self._readers, []
        return [reader.stream for reader in readers]

    def read(
        self, most_positions: int
    ) -> Iterator[tuple[list[tuple[Reader, NDArray[np.float32]]], _Failed]]:
        """Read chunk by chunk; those whose next chunk is as long are read together.

        After each run: those whose prompt is read, with the scores of what may follow it, and those
        that failed. Both are gone from here.
        """
        positions = 0
        while self._readers and positions < most_positions:
            chunk = self._readers[0].next_chunk()
            together = [reader for reader in self._readers if reader.next_chunk() == chunk]
            failed: dict[Reader, Exception] = {}
            try:
                logits = self._read(together, chunk)
            except Exception:
                # One poisonous prompt must not fail its neighbours: read each alone.
                logits = {}
                for reader in together:
                    try:
                        logits |= self._read([reader], chunk)
                    except Exception as error:
                        failed[reader] = error
            positions += chunk
            self._readers = [it for it in self._readers if not it.whole and it not in failed]
            yield (
                [(reader, logits_V) for reader, logits_V in logits.items() if reader.whole],
                [(reader.stream, error) for reader, error in failed.items()],
            )
            failed.clear()  # an error refers to this frame by its traceback: a cycle

    def _read(self, readers: list[Reader], chunk: int) -> dict[Reader, NDArray[np.float32]]:
        """One run; the scores behind each chunk's last token."""
        token_NT = np.array([reader.tokens(chunk) for reader in readers], dtype=np.int64)
        start_s = time.perf_counter()
        logits_NTV, state_NS = self._graph.run(
            token_NT, np.stack([reader.state_S for reader in readers])
        )
        self._on_run(len(readers), start_s)
        for reader, logits_TV, state_S in zip(readers, logits_NTV, state_NS, strict=True):
            reader.advance(logits_TV, state_S)
        return dict(zip(readers, logits_NTV[:, -1], strict=True))
