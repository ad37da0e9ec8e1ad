"""Characters to indices and back; a stranger among them is named."""

from __future__ import annotations

import pytest

from service.errors import InvalidInputError
from service.vocabulary import Vocabulary

VOCABULARY = Vocabulary("\n abcé😀")


def test_round_trip() -> None:
    text = "a bc\né😀"
    tokens = VOCABULARY.encode(text)
    assert tokens == (2, 1, 3, 4, 0, 5, 6)
    assert VOCABULARY.decode(tokens) == text
    assert VOCABULARY.encode("") == ()
    assert len(VOCABULARY) == 7


def test_the_first_unknown_character_is_named_with_its_place() -> None:
    with pytest.raises(InvalidInputError, match=r"prompt\[2\] has 'X' at position 3") as caught:
        VOCABULARY.encode("ab Xb Y", "prompt[2]")
    assert caught.value.field == "prompt[2]"
    assert "7 characters" in caught.value.message


def test_an_empty_prompt_starts_a_line() -> None:
    assert VOCABULARY.first_token == 0
    assert Vocabulary("ab\n").first_token == 2
    assert Vocabulary("ab").first_token == 0


def test_stops_that_cannot_occur_are_dropped() -> None:
    assert VOCABULARY.encode_stops(["ab", "aX", "\n"]) == ((2, 3), (0,))
    assert VOCABULARY.encode_stops([]) == ()
