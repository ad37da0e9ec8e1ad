"""Characters and their indices: the tokenizer of a character model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from service.errors import InvalidInputError


class Vocabulary:
    """`characters` in index order."""

    def __init__(self, characters: str) -> None:
        self.characters = characters
        self._index = {character: index for index, character in enumerate(characters)}

    def __len__(self) -> int:
        return len(self.characters)

    @property
    def first_token(self) -> int:
        """What an empty prompt starts from: the newline, after which a line begins."""
        return self._index.get("\n", 0)

    def encode(self, text: str, field: str = "prompt") -> tuple[int, ...]:
        """Indices of characters; raises InvalidInputError that names the first unknown one."""
        try:
            return tuple(map(self._index.__getitem__, text))
        except KeyError as error:
            character = error.args[0]
            raise InvalidInputError(
                f"{field} has {character!r} at position {text.index(character)}, which is not in "
                f"the model's vocabulary of {len(self)} characters",
                field=field,
            ) from None

    def decode(self, tokens: Iterable[int]) -> str:
        """Characters of indices."""
        return "".join(map(self.characters.__getitem__, tokens))

    def encode_stops(self, stops: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Stops as tokens; one with an unknown character can never occur and is dropped."""
        return tuple(
            tuple(self._index[character] for character in stop)
            for stop in stops
            if all(character in self._index for character in stop)
        )
