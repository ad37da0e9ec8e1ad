"""What a character model repeats of its training text."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from training.measures.memorisation import long_sentences, longest_overlaps, recited

PLAY = """First Citizen:
Before we proceed any further, hear me speak.
You are all resolved rather to die than
to famish?

All:
Resolved. "Resolved!" resolved
"""


def test_sentences_end_at_stops_and_with_their_speech_and_cross_lines() -> None:
    assert long_sentences(PLAY, characters=0) == {
        "Before we proceed any further, hear me speak.",
        "You are all resolved rather to die than to famish?",
        "Resolved.",
        '"Resolved!"',
        "resolved",
    }


def test_only_long_sentences_count() -> None:
    assert long_sentences(PLAY, characters=45) == {
        "You are all resolved rather to die than to famish?"
    }
    assert long_sentences("a" * 80 + "\n\n" + "b" * 81) == {"b" * 81}


def test_a_recited_sentence_is_found_however_its_lines_are_broken() -> None:
    sentences = long_sentences(PLAY, characters=45)
    broken = "You are all\nresolved  rather to die than to famish? No."
    altered = "You are all resolved rather to die then to famish?"
    assert [len(found) for found in recited([broken, altered, ""], sentences)] == [1, 0, 0]


def test_the_longest_overlap_is_found() -> None:
    text = "on the mat the cat sat down"
    found = longest_overlaps(["xx the cat sat yy", "XYZ", "", text], text)
    assert [overlap.text for overlap in found] == [" the cat sat ", "", "", text]
    assert [overlap.characters for overlap in found] == [13, 0, 0, len(text)]


@given(samples=st.lists(st.text("ab\U0001f600", max_size=20), max_size=4), text=st.text("ab"))
def test_overlaps_are_those_of_plain_search(samples: list[str], text: str) -> None:
    for sample, found in zip(samples, longest_overlaps(samples, text), strict=True):
        passages = (sample[i:j] for i in range(len(sample)) for j in range(i + 1, len(sample) + 1))
        longest = max((len(passage) for passage in passages if passage in text), default=0)
        assert found.characters == len(found.text) == longest
        assert found.text in sample
        assert found.text in text


def test_windows_whose_hashes_agree_but_whose_letters_do_not_are_no_overlap() -> None:
    # Thue and Morse's sequence and its mirror: a polynomial modulo 2**64 cannot tell them apart.
    word, mirror = "a", "b"
    for _ in range(12):
        word, mirror = word + mirror, mirror + word
    (found,) = longest_overlaps([mirror], word)
    assert found.text in word
    assert found.characters < len(word)


def test_a_passage_planted_in_a_long_text_is_found_at_its_length() -> None:
    draw = random.Random(0)
    text = "".join(draw.choices("abcdefghijklmnop", k=50_000))
    sample = "Q" + text[31_000:31_237] + "Q"
    assert (
        longest_overlaps(["".join(draw.choices("qrstuv", k=500)), sample], text)[1].text
        == (text[31_000:31_237])
    )
