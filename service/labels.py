"""Class names as clients write them: in a list, or within a prompt."""

from __future__ import annotations

import re
from collections.abc import Sequence

from service.errors import InvalidInputError


class Labels:
    """The classes of one model.

    Args:
        names: of the classes, in the order of their indices.

    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._index_of = {name.lower(): index for index, name in enumerate(self.names)}
        # In "a lenten rose" the class is `lenten rose`, not `rose`: longer names come first.
        longest_first = sorted(range(len(self.names)), key=lambda index: -len(self.names[index]))
        self._words = [
            (index, re.compile(rf"\b{re.escape(self.names[index])}s?\b", re.IGNORECASE))
            for index in longest_first
        ]

    def indices(self, wanted: Sequence[str], n: int | None) -> list[int]:
        """Class indices of n pictures that go through `wanted` in turn; all classes if it is empty.

        Raises InvalidInputError for a name that is no class's.
        """
        chosen: list[int] = []
        for position, name in enumerate(wanted):
            index = self._index_of.get(name.lower())
            if index is None:
                raise InvalidInputError(
                    f"there is no class {name!r}; there is {', '.join(self.names)}",
                    field=f"labels[{position}]",
                )
            chosen.append(index)
        chosen = chosen or list(range(len(self.names)))
        count = len(chosen) if n is None else n
        return [chosen[position % len(chosen)] for position in range(count)]

    def index_in_prompt(self, prompt: str) -> int:
        """The one class whose name occurs in the prompt as a word, singular or plural.

        Raises InvalidInputError if there is none, or more than one.
        """
        found: list[int] = []
        for index, word in self._words:
            prompt, times = word.subn("|", prompt)
            if times:
                found.append(index)
        if len(found) != 1:
            what = "no class" if not found else "more than one class"
            raise InvalidInputError(
                f"the prompt names {what}; it must name one of {', '.join(self.names)}",
                field="prompt",
            )
        return found[0]
