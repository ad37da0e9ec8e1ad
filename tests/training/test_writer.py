"""The language model read from its graph: losses and texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from training.data.text import TextData
from training.export import export_graph
from training.kinds import kinds
from training.tasks.language import encode, window_losses
from training.writer import Writer

CPU = torch.device("cpu")


class Model:
    """A tiny network, its graph, and the text it belongs to."""

    def __init__(self, source: Path, cache_dir: Path, graph: Path) -> None:
        family = kinds()["lstm"]
        config = family.presets["tiny"]
        self.data: TextData = family.load_data(str(source), cache_dir)
        task = family.task(config, self.data, CPU)
        self.network = task.modules[task.served].eval()
        export_graph(family.export(config, self.data, self.network), graph)
        self.writer = Writer(graph, self.data.vocabulary)


@pytest.fixture(scope="module")
def model(
    sources: dict[str, Path], cache_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Model:
    return Model(sources["lstm"], cache_dir, tmp_path_factory.mktemp("writer") / "model.onnx")


def test_losses_of_windows_are_those_of_the_network(model: Model) -> None:
    found = model.writer.window_losses(model.data.train, 16)
    tokens = encode(model.data.train, model.data.vocabulary)
    expected = window_losses(model.network, tokens, 16).numpy()
    assert len(found) > 64, "more than one batch"
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_carried_state_reads_the_text_as_one(model: Model) -> None:
    text = model.data.val[:100]
    whole = model.writer.window_losses(text, 99)[0]
    np.testing.assert_allclose(model.writer.carried_losses(text, chunk=7), whole, atol=1e-5)
    reset = model.writer.window_losses(text, 9).ravel()
    assert np.abs(reset - whole).max() > 1e-3, "windows forget, the carried state does not"


def test_texts_are_a_function_of_the_seed(model: Model) -> None:
    first = model.writer.write([1.0, 1.0], 50, seed=1)
    assert first == model.writer.write([1.0, 1.0], 50, seed=1)
    assert first[0] != first[1]
    assert first != model.writer.write([1.0, 1.0], 50, seed=2)
    assert {len(text) for text in first} == {50}


def test_an_entry_does_not_depend_on_its_neighbours_temperature(model: Model) -> None:
    first = model.writer.write([1.0, 1.0], 50, seed=1)
    second = model.writer.write([1.0, 0.5], 50, seed=1)
    assert first[0] == second[0]
    assert first[1] != second[1]


def test_characters_come_with_the_probabilities_of_the_network(model: Model) -> None:
    temperature, rows = 0.5, 4000
    texts = model.writer.write([temperature] * rows, 1, seed=0)
    start = torch.tensor([[model.data.vocabulary.index("\n")]])
    with torch.no_grad():
        logits, _ = model.network(start)
    expected = (logits[0, 0] / temperature).softmax(dim=0).numpy()
    drawn = np.array([texts.count(character) for character in model.data.vocabulary]) / rows
    assert np.abs(drawn - expected).max() < 4 * np.sqrt(expected.max() / rows)


def test_near_temperature_0_the_likeliest_character_comes(model: Model) -> None:
    (text,) = model.writer.write([1e-4], 5, seed=0)
    token, state = model.data.vocabulary.index("\n"), None
    for character in text:
        with torch.no_grad():
            logits, state = model.network(torch.tensor([[token]]), state)
        token = int(logits.argmax())
        assert character == model.data.vocabulary[token]
