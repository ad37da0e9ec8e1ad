"""Figures on texts."""

from __future__ import annotations

import math

import pytest

from training.measures.text import known_words, nats_to_bits, perplexity, pieces, whole_words


def test_units() -> None:
    assert nats_to_bits(math.log(8)) == pytest.approx(3.0)
    assert perplexity(math.log(65)) == pytest.approx(65.0)


def test_known_words_ignore_case_and_punctuation() -> None:
    share = known_words("To BE, or nott; o'er\nto-be!", "to be or not to be: o'er")
    assert (share.successes, share.trials) == (6, 7)
    assert known_words("42, 7!", "to be").trials == 0


def test_a_word_that_the_length_cut_short_is_left_out() -> None:
    assert whole_words("to be or no") == "to be or "
    assert whole_words("to be\nor") == "to be\n"
    assert whole_words("unbroken") == ""


def test_pieces_are_of_one_length_evenly_spaced_and_apart() -> None:
    assert pieces("abcdefghij", 3, 2) == ["ab", "ef", "ij"]
    assert pieces("abcdefghij", 9, 4) == ["abcd", "ghij"]
    assert pieces("abcdefghij", 1, 4) == ["abcd"]
    assert pieces("abc", 5, 4) == ["abc"]
