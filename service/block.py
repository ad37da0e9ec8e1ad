"""The running batch of text: rows that are written together, one token each per step.

Everything a step touches lies in arrays made once: tokens, two blocks of states that are read and
written in turn, logits, random numbers. A row joins at the end and leaves by the last one taking
its place, so that the rows in use are always the first ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.noise import Uniforms
from service.sampling import Sampler, log_softmax
from service.sequences import FinishReason, Stream, Token, scored_token

_UNIFORMS = 256  # random numbers drawn at a time for a row
_HISTORY = 64  # steps until tokens are moved from the block to their rows


class Graph(Protocol):
    """A recurrent network: token [N, T], state [N, S] -> logits [N, T, V], state [N, S]."""

    def run(
        self, token_NT: NDArray[np.int64], state_NS: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run it once."""

    def bind(
        self,
        token_N1: NDArray[np.int64],
        state_NS: NDArray[np.float32],
        logits_N1V: NDArray[np.float32],
        state_out_NS: NDArray[np.float32],
    ) -> Callable[[], None]:
        """Make a step from and into these arrays."""


class Row:
    """A sequence that is being written."""

    __slots__ = ("ends_at", "fresh", "last", "refill_at", "stream", "tail", "uniforms", "watched")

    def __init__(self, stream: Stream) -> None:
        prompt = stream.prompt
        self.stream = stream
        self.uniforms = Uniforms(prompt.seed, prompt.row)
        self.fresh: list[Token] = []
        """Made, and not yet delivered."""
        self.last = 0
        """The token that the next step reads, when the row joins."""
        self.tail: list[int] = []
        """The last tokens, of a row that has stops."""
        self.watched = bool(prompt.stops) or prompt.top_logprobs is not None
        """Looked at after every step; of other rows the block keeps the tokens for a while."""
        self.ends_at = self.refill_at = 0

    def take(self) -> list[Token]:
        """What is to be delivered now."""
        tokens, self.fresh = self.fresh, []
        return tokens

    def push(self, token: Token) -> bool:
        """Add a token; True if it completes a stop."""
        self.fresh.append(token)
        self.last = token.index
        if not self.stream.prompt.stops:
            return False
        self.tail = [*self.tail[-63:], token.index]
        return any(tuple(self.tail[-len(stop) :]) == stop for stop in self.stream.prompt.stops)


Ended = tuple[Row, FinishReason | Exception]


class Block:
    """At most `capacity` rows in step.

    Args:
        graph: what is stepped.
        state_width: S.
        vocabulary: V.
        capacity: most rows.

    """

    def __init__(self, graph: Graph, *, state_width: int, vocabulary: int, capacity: int) -> None:
        self._graph = graph
        self._vocabulary = vocabulary
        self._plain = [Token(index) for index in range(vocabulary)]
        self._token_N1 = np.zeros((capacity, 1), dtype=np.int64)
        self._state_NS = [np.zeros((capacity, state_width), dtype=np.float32) for _ in range(2)]
        self._logits_N1V = np.zeros((capacity, 1, vocabulary), dtype=np.float32)
        self._uniform_NB = np.zeros((capacity, _UNIFORMS))
        self._history_NH = np.zeros((capacity, _HISTORY), dtype=np.int64)
        self._steps: dict[tuple[int, int], Callable[[], None]] = {}
        self._watched: list[int] = []
        self._turn = 0  # which block of states is read next
        self._clock = 0  # steps made
        self._settled_at = 0
        self._attend_at = 0
        self.rows: list[Row] = []
        self._regroup()

    # --- joining and leaving --------------------------------------------------------------

    def first(
        self, rows: list[Row], logits_NV: NDArray[np.float32]
    ) -> tuple[list[Row], list[Ended]]:
        """Draw the first token of rows whose prompt is read; return those that go on, and end."""
        sampler = Sampler([row.stream.prompt.sampling for row in rows], self._vocabulary)
        uniform_N = np.concatenate([row.uniforms.take(1) for row in rows])
        going: list[Row] = []
        ended: list[Ended] = []
        for row, index, logits_V in zip(
            rows, sampler.choose(logits_NV, uniform_N), logits_NV, strict=True
        ):
            top = row.stream.prompt.top_logprobs
            token = (
                self._plain[index]
                if top is None
                else scored_token(index, log_softmax(logits_V[None])[0], top)
            )
            if row.push(token):
                ended.append((row, "stop"))
            elif row.stream.prompt.max_tokens == 1:
                ended.append((row, "length"))
            else:
                going.append(row)
        return going, ended

    def join(self, row: Row, state_S: NDArray[np.float32]) -> None:
        """Take in a row that has its first token and the state after its prompt."""
        self.settle()
        place = len(self.rows)
        self.rows.append(row)
        self._token_N1[place] = row.last
        self._state_NS[self._turn][place] = state_S
        row.ends_at = self._clock + row.stream.prompt.max_tokens - 1
        self._refill(place)
        self._regroup()

    def leave(self, gone: list[int]) -> list[Row]:
        """Let the rows at these places go."""
        if not gone:
            return []
        self.settle()
        left = [self.rows[place] for place in gone]
        for place in sorted(gone, reverse=True):
            last = len(self.rows) - 1
            if place != last:
                self.rows[place] = self.rows[last]
                for array in (self._token_N1, self._state_NS[self._turn], self._uniform_NB):
                    array[place] = array[last]
            del self.rows[last]
        self._regroup()
        return left

    def _regroup(self) -> None:
        rows = self.rows
        self._sampler = Sampler([row.stream.prompt.sampling for row in rows], self._vocabulary)
        self._watched = [place for place, row in enumerate(rows) if row.watched]
        count = len(rows)
        self._logits_NV = self._logits_N1V[:count, 0]
        self._index_N = self._token_N1[:count, 0]
        self._look_ahead()

    def _refill(self, place: int) -> None:
        """Draw a row's next random numbers; a step reads the column of its count."""
        row, start = self.rows[place], self._clock % _UNIFORMS
        drawn = row.uniforms.take(_UNIFORMS)
        self._uniform_NB[place, start:] = drawn[: _UNIFORMS - start]
        self._uniform_NB[place, :start] = drawn[_UNIFORMS - start :]
        row.refill_at = self._clock + _UNIFORMS

    def _look_ahead(self) -> None:
        """Find the next step after which any row needs more than its token."""
        self._attend_at = self._settled_at + _HISTORY
        for row in self.rows:
            self._attend_at = min(self._attend_at, row.ends_at, row.refill_at)

    # --- stepping -------------------------------------------------------------------------

    def step(self) -> list[Ended]:
        """Write one token of every row; return the rows that ended, which have left."""
        count = len(self.rows)
        failed = self._run(count)
        self._turn ^= 1
        uniform_N = self._uniform_NB[:count, self._clock % _UNIFORMS]
        index_N = self._sampler.draw(self._logits_NV, uniform_N)
        self._index_N[:] = index_N
        self._history_NH[:count, self._clock - self._settled_at] = index_N
        self._clock += 1
        ended: dict[int, FinishReason | Exception] = {}
        if self._watched:
            self._watch(self._logits_NV, ended)
        if self._clock >= self._attend_at:
            self._attend(ended)
        ended.update(failed)
        if not ended:
            return []
        places = list(ended)
        return list(zip(self.leave(places), ended.values(), strict=True))

    def _run(self, count: int) -> dict[int, Exception]:
        """Run the graph; if it fails, each row alone, so that one row's input fails that one."""
        key = (count, self._turn)
        step = self._steps.get(key)
        if step is None:
            step = self._steps[key] = self._graph.bind(
                self._token_N1[:count],
                self._state_NS[self._turn][:count],
                self._logits_N1V[:count],
                self._state_NS[self._turn ^ 1][:count],
            )
        failed: dict[int, Exception] = {}
        try:
            step()
        except Exception:
            for place in range(count):
                row = slice(place, place + 1)
                try:
                    found = self._graph.run(self._token_N1[row], self._state_NS[self._turn][row])
                except Exception as error:
                    failed[place] = error
                else:
                    self._logits_N1V[row], self._state_NS[self._turn ^ 1][row] = found
        return failed

    def _watch(
        self, logits_NV: NDArray[np.float32], ended: dict[int, FinishReason | Exception]
    ) -> None:
        scored = [p for p in self._watched if self.rows[p].stream.prompt.top_logprobs is not None]
        logprobs = dict(zip(scored, log_softmax(logits_NV[scored]), strict=True)) if scored else {}
        for place in self._watched:
            row, index = self.rows[place], int(self._token_N1[place, 0])
            token = (
                scored_token(index, logprobs[place], row.stream.prompt.top_logprobs or 0)
                if place in logprobs
                else self._plain[index]
            )
            if row.push(token):
                ended[place] = "stop"

    def _attend(self, ended: dict[int, FinishReason | Exception]) -> None:
        self.settle()
        for place, row in enumerate(self.rows):
            if self._clock == row.ends_at:
                ended.setdefault(place, "length")
            elif self._clock == row.refill_at:
                self._refill(place)
        self._look_ahead()

    def settle(self) -> None:
        """Move the tokens of the last steps from the block to their rows."""
        steps = self._clock - self._settled_at
        if not steps:
            return
        plain = self._plain
        for row, history in zip(
            self.rows, self._history_NH[: len(self.rows), :steps].tolist(), strict=True
        ):
            if not row.watched:
                row.fresh += [plain[index] for index in history]
        self._settled_at = self._clock
        self._look_ahead()
