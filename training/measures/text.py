"""Figures on character models and on what they write."""

from __future__ import annotations

import math
import re

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


def whole_words(sample: str) -> str:
    """The sample without its last word, which its length may have cut short."""
    return sample[: max(sample.rfind(" "), sample.rfind("\n")) + 1]


def pieces(text: str, count: int, characters: int) -> list[str]:
    """At most `count` pieces of the text of `characters` each, evenly spaced and without overlap.

    A text too short for one piece is one itself.
    """
    found = min(count, len(text) // characters)
    if found == 0:
        return [text]
    return [text[start : start + characters] for start in spaced(len(text) - characters, found)]


def spaced(last: int, count: int) -> list[int]:
    """`count` whole numbers from 0 to `last`, evenly spaced."""
    return [last * index // max(count - 1, 1) for index in range(count)]
