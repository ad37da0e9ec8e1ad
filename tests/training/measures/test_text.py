"""Figures on texts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.measures.text import known_words, longest_overlap, nats_to_bits, perplexity


def test_units() -> None:
    assert nats_to_bits(math.log(8)) == pytest.approx(3.0)
    assert perplexity(math.log(65)) == pytest.approx(65.0)


def test_known_words_ignore_case_and_punctuation() -> None:
    share = known_words("To BE, or nott; o'er\nto-be!", "to be or not to be: o'er")
    assert (share.successes, share.trials) == (6, 7)
    assert known_words("42, 7!", "to be").trials == 0


def test_the_longest_overlap_is_found() -> None:
    overlap = longest_overlap("xx the cat sat yy", "on the mat the cat sat down")
    assert overlap.text == " the cat sat "
    assert overlap.characters == 13
    assert longest_overlap("abc", "xyz").characters == 0
    assert longest_overlap("", "xyz").characters == 0


@given(sample=st.text("ab", max_size=30), text=st.text("ab", max_size=30))
def test_the_overlap_is_that_of_plain_search(sample: str, text: str) -> None:
    found = longest_overlap(sample, text)
    passages = (sample[i:j] for i in range(len(sample)) for j in range(i + 1, len(sample) + 1))
    longest = max((len(passage) for passage in passages if passage in text), default=0)
    assert found.characters == len(found.text) == longest
    assert found.text in sample
    assert found.text in text
