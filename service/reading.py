"""A prompt as it is read, chunk by chunk, before its sequence joins the running batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.block import Row
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
