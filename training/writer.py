"""A language model as it is served, reading and writing: everything is measured on its graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.session import Session
from training.seeds import derive

ROWS = 64  # windows read at a time: their logits at 256 x 65 are 4 MB


class Writer:
    """The graph at `graph`, whose tokens are positions in `vocabulary`; one thread of the CPU."""

    def __init__(self, graph: Path, vocabulary: str) -> None:
        self._session = Session(graph)
        self._vocabulary = vocabulary
        self._index = {character: index for index, character in enumerate(vocabulary)}
        size = self._session.inputs["state"][1][1]
        assert isinstance(size, int), "a state has one size"
        self._state_size = size

    def window_losses(self, text: str, window: int) -> NDArray[np.float64]:
        """Nats of every predicted character [windows, window].

        Consecutive windows that do not overlap, each from the zero state; the incomplete last one
        is left out.
        """
        token = self._encode(text)
        count = (len(token) - 1) // window
        token_WT = token[: count * window].reshape(count, window)
        next_WT = token[1 : count * window + 1].reshape(count, window)
        parts = [
            self._read(token_WT[part], next_WT[part], self._blank(len(token_WT[part])))[0]
            for part in (slice(start, start + ROWS) for start in range(0, count, ROWS))
        ]
        return np.concatenate(parts)

    def carried_losses(self, text: str, chunk: int = 256) -> NDArray[np.float64]:
        """Nats of every character of `text` but its first [len(text) - 1], read as one sequence.

        Only the first character is read from the zero state. `chunk` characters pass through the
        graph at a time, which changes nothing.
        """
        token = self._encode(text)
        state, parts = self._blank(1), []
        for start in range(0, len(token) - 1, chunk):
            following = token[start + 1 : start + chunk + 1]
            token_1T = token[None, start : start + len(following)]
            loss_1T, state = self._read(token_1T, following[None], state)
            parts.append(loss_1T[0])
        return np.concatenate(parts)

    def write(self, temperatures: Sequence[float], characters: int, seed: int) -> list[str]:
        """One text for each of `temperatures` (above 0), all in one batch.

        Each starts from the zero state after a line's end (the vocabulary's first character where
        there is none). The draws are a function of the seed and the batch; an entry's text depends
        on no other entry's temperature.
        """
        rows = len(temperatures)
        draw = np.random.default_rng(derive(seed, "samples"))
        scale_B1 = 1.0 / np.asarray(temperatures, np.float64)[:, None]
        token_B1 = np.full((rows, 1), self._index.get("\n", 0), np.int64)
        state_BS = self._blank(rows)
        written_TB = np.empty((characters, rows), np.int64)
        for position in range(characters):
            outputs = self._session.run({"token": token_B1, "state": state_BS})
            state_BS = outputs["state_out"]
            weight_BV = _softmax(outputs["logits"][:, 0].astype(np.float64) * scale_B1)
            target_B1 = draw.random((rows, 1))
            # Rounding can leave the sum a hair below the target: the last character then.
            chosen_B = (weight_BV.cumsum(axis=1) <= target_B1).sum(axis=1)
            token_B1 = np.minimum(chosen_B, len(self._vocabulary) - 1)[:, None]
            written_TB[position] = token_B1[:, 0]
        return ["".join(self._vocabulary[token] for token in row) for row in written_TB.T]

    def _read(
        self, token_BT: NDArray[np.int64], next_BT: NDArray[np.int64], state_BS: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Nats [B, T] of the characters that follow, and the state after the last token."""
        outputs = self._session.run({"token": np.ascontiguousarray(token_BT), "state": state_BS})
        logits_BTV = outputs["logits"].astype(np.float64)
        logits_BTV -= logits_BTV.max(axis=2, keepdims=True)
        chosen_BT = np.take_along_axis(logits_BTV, next_BT[:, :, None], axis=2)[:, :, 0]
        loss_BT: NDArray[np.float64] = np.log(np.exp(logits_BTV).sum(axis=2)) - chosen_BT
        return loss_BT, outputs["state_out"]

    def _encode(self, text: str) -> NDArray[np.int64]:
        return np.fromiter((self._index[character] for character in text), np.int64, len(text))

    def _blank(self, rows: int) -> NDArray[np.float32]:
        return np.zeros((rows, self._state_size), np.float32)


def _softmax(logits_BV: NDArray[np.float64]) -> NDArray[np.float64]:
    weight_BV: NDArray[np.float64] = np.exp(logits_BV - logits_BV.max(axis=1, keepdims=True))
    weight_BV /= weight_BV.sum(axis=1, keepdims=True)
    return weight_BV
