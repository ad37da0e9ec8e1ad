"""A model that recites is told from one that writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from service.contract import TensorSpec
from training.data.text import TextData
from training.export import export_graph
from training.gate import judge
from training.kinds import kinds
from training.kinds.base import Evaluation, Export
from training.reports.recitation import SAMPLES, report_recitation
from training.writer import Writer


class Reciter(nn.Module):
    """Says a text by heart: its state is the place in it."""

    table: torch.Tensor

    def __init__(self, text: str, vocabulary: str) -> None:
        super().__init__()
        index = torch.tensor([vocabulary.index(character) for character in text])
        self.register_buffer("table", 50.0 * nn.functional.one_hot(index, len(vocabulary)).float())

    def forward(self, token: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """int64 [N,T] and float32 [N,1] to logits [N,T,V] and the state after them."""
        place = state + torch.ones_like(token).cumsum(1).float() - 1
        logits = self.table[place.long() % len(self.table)]
        return logits, place[:, -1:] + 1


def recite(text: str, vocabulary: str, graph: Path) -> Path:
    plan = Export(
        module=Reciter(text, vocabulary).eval(),
        inputs=(
            TensorSpec(name="token", dtype="int64", shape=("N", "T")),
            TensorSpec(name="state", dtype="float32", shape=("N", 1)),
        ),
        outputs=(
            TensorSpec(name="logits", dtype="float32", shape=("N", "T", len(vocabulary))),
            TensorSpec(name="state_out", dtype="float32", shape=("N", 1)),
        ),
        tolerance={"logits": 1e-5, "state_out": 1e-5},
        draw_inputs=lambda rows, rng: {
            "token": rng.integers(0, len(vocabulary), (rows, 4)),
            "state": np.zeros((rows, 1), np.float32),
        },
    )
    export_graph(plan, graph)
    return graph


@pytest.fixture(scope="module")
def data(sources: dict[str, Path], cache_dir: Path) -> TextData:
    loaded: TextData = kinds()["lstm"].load_data(str(sources["lstm"]), cache_dir)
    # Sentences of the synthetic text are short: joined by commas they grow long.
    lines = [line.rstrip(".").lower() for line in loaded.train.splitlines()[1:]]
    speech = "\n".join(
        f"{first},\n{second}, {third}."
        for first, second, third in zip(*[iter(lines)] * 3, strict=False)
    )
    return replace(loaded, train=loaded.train.splitlines()[0] + "\n\n" + speech)


def look(data: TextData, graph: Path, folder: Path) -> Evaluation:
    return report_recitation(Writer(graph, data.vocabulary), data, 0, folder)


def test_a_model_that_knows_its_text_by_heart_is_caught(data: TextData, tmp_path: Path) -> None:
    body = data.train.splitlines(keepends=True)[2:]
    graph = recite("".join(body), data.vocabulary, tmp_path / "model.onnx")
    metrics = look(data, graph, tmp_path).metrics
    assert metrics["sample_recited_share"] == 1.0
    assert metrics["sample_longest_overlap"] == 1000
    assert metrics["sample_known_words"] == 1.0
    assert "sample 0, 1000" in (tmp_path / "passages.md").read_text("utf-8")
    rules = kinds()["lstm"].rules
    verdict = judge({"val_loss_nats": 0.1, **metrics}, rules, None)
    assert not verdict.passed
    assert [check.metric for check in verdict.checks if not check.passed] == [
        "sample_recited_share"
    ]


def test_a_model_that_says_what_its_text_does_not_is_let_talk(
    data: TextData, tmp_path: Path
) -> None:
    other = data.train.splitlines()[2][::-1] * 30  # backwards
    graph = recite(other, data.vocabulary, tmp_path / "model.onnx")
    evaluation = look(data, graph, tmp_path)
    metrics = evaluation.metrics
    assert metrics["sample_recited_share"] == 0.0
    assert 0 < metrics["sample_recited_share_high"] < 0.05, f"of {SAMPLES}"
    assert metrics["sample_longest_overlap"] < 20
    assert metrics["sample_known_words"] < 0.5
    assert [figure.file for figure in evaluation.figures] == ["overlaps.png"]
    with Image.open(tmp_path / "overlaps.png") as image:
        assert np.asarray(image.convert("L")).std() > 5, "the plot is blank"
