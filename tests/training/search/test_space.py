from __future__ import annotations

import pytest

from training.config import override
from training.errors import ConfigError
from training.kinds import kinds
from training.search.space import Choice, Real, Whole, choose_space

PRESET = kinds()["lstm"].presets["tiny"]
SPACE = (Real("optimizer.lr", 1e-3, 1e-2, log=True), Choice("network.hidden", ("8", "16")))


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_every_value_of_a_kinds_own_space_is_one_that_its_shipped_preset_takes(kind: str) -> None:
    family = kinds()[kind]
    for dimension in family.space:
        ends = (
            dimension.values
            if isinstance(dimension, Choice)
            else (str(dimension.low), str(dimension.high))
        )
        for value in ends:
            override(family.presets["standard"], [f"{dimension.key}={value}"])


def test_the_classifier_and_the_language_model_have_a_space() -> None:
    assert {kind for kind in kinds() if kinds()[kind].space} >= {"cnn", "lstm"}


def test_nothing_chosen_is_the_kinds_own_space() -> None:
    assert choose_space(SPACE, [], PRESET) == SPACE


@pytest.mark.parametrize(
    ("text", "dimension"),
    [
        ("network.hidden", SPACE[1]),
        ("optimizer.lr=1e-4..1e-1:log", Real("optimizer.lr", 1e-4, 1e-1, log=True)),
        ("network.dropout=0..0.5", Real("network.dropout", 0.0, 0.5)),
        ("network.layers=1..3", Whole("network.layers", 1, 3)),
        ("optimizer.name=sgd|adamw", Choice("optimizer.name", ("sgd", "adamw"))),
    ],
)
def test_a_space_is_chosen_by_key_or_spelt_out(text: str, dimension: object) -> None:
    assert choose_space(SPACE, [text], PRESET) == (dimension,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("network.dropout", "give its values as well: network.dropout=low..high"),
        ("network.dropot=0..0.5", "did you mean 'network.dropout'"),
        ("network.dropout=0..1.5", "network.dropout is 1.5"),
        ("network.dropout=a..b", "is not a range of numbers"),
        ("network.dropout=0.5..0.1", "start is below its end"),
        ("optimizer.lr=0..1:log", "above 0 on a logarithmic scale"),
        ("optimizer.lr=1..2:linear", "only `:log` may follow"),
        ("network.hidden=8", "two or more different values"),
        ("optimizer.name=sgd|sdg", "optimizer.name is 'sdg'"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        choose_space(SPACE, [text], PRESET)
    assert message in refusal.value.message
