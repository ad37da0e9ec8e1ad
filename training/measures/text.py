"""Figures on character models and on what they write."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from training.measures.proportion import Proportion

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")  # letters of any script, inner apostrophes


def nats_to_bits(loss_nats: float) -> float:
    """Bits per character from nats per character."""
    return loss_nats / math.log(2)


def perplexity(loss_nats: float) -> float:
    """exp(loss): among how many equally likely characters the model is as unsure."""
    return math.exp(loss_nats)


def known_words(sample: str, training_text: str) -> Proportion:
    """Share of the sample's words that occur in the training text; case is ignored.

    A model that has learnt to spell comes near 1; one that draws letters by their frequency
    does not.
    """
    vocabulary = {word.lower() for word in _WORD.findall(training_text)}
    words = [word.lower() for word in _WORD.findall(sample)]
    return Proportion(successes=sum(word in vocabulary for word in words), trials=len(words))


@dataclass(frozen=True)
class Overlap:
    """A passage of the sample that stands word for word in the training text."""

    characters: int
    text: str


def longest_overlap(sample: str, training_text: str) -> Overlap:
    """Longest run of characters of the sample that occurs verbatim in the training text.

    A long one is memory rather than writing. About a millisecond per sampled character on a
    text of a million.
    """
    best = ""
    start = 0
    while start + len(best) < len(sample):
        longer = sample[start : start + len(best) + 1]
        if longer in training_text:
            best = longer
        else:
            start += 1
    return Overlap(characters=len(best), text=best)
