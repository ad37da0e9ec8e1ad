"""Small networks as float32 graphs, with random weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch

from service.contract import TensorSpec
from training.export import export_graph
from training.kinds.base import Arrays, Export
from training.kinds.cnn import draw_pictures
from training.networks.airbench import Airbench, fold_pooled_norms
from training.networks.charlstm import CharLstm
from training.networks.served import ServedClassifier

VOCABULARY = 11


def text_plan(*, hidden: int = 16, layers: int = 1, embedding: int = 8) -> Export:
    """A character model; weights twice as large as usual, so that quantising them shows."""
    torch.manual_seed(0)
    network = CharLstm(
        VOCABULARY, embedding=embedding, hidden=hidden, layers=layers, dropout=0.0
    ).eval()
    with torch.no_grad():
        for weight in network.lstm.parameters():
            weight.mul_(2.0)
    state = network.state_size

    def draw_inputs(rows: int, rng: np.random.Generator) -> Arrays:
        return {
            "token": rng.integers(0, VOCABULARY, (rows, 5)),
            "state": np.tanh(rng.standard_normal((rows, state), dtype=np.float32)),
        }

    return Export(
        module=network,
        inputs=(
            TensorSpec(name="token", dtype="int64", shape=("N", "T")),
            TensorSpec(name="state", dtype="float32", shape=("N", state)),
        ),
        outputs=(
            TensorSpec(name="logits", dtype="float32", shape=("N", "T", VOCABULARY)),
            TensorSpec(name="state_out", dtype="float32", shape=("N", state)),
        ),
        tolerance={"logits": 1e-3, "state_out": 1e-3},
        draw_inputs=draw_inputs,
        metadata={"made_by": "a test"},
    )


def picture_plan(convolutions: int = 2) -> Export:
    """An image classifier of 16x16 pictures and 3 classes."""
    torch.manual_seed(0)
    network = fold_pooled_norms(Airbench(3, (16, 16), convolutions))
    return Export(
        module=ServedClassifier(network, (120.0,) * 3, (60.0,) * 3).eval(),
        inputs=(TensorSpec(name="image", dtype="uint8", shape=("N", 16, 16, 3)),),
        outputs=(
            TensorSpec(name="probability", dtype="float32", shape=("N", 3)),
            TensorSpec(name="heatmap", dtype="float32", shape=("N", 3, 3)),
            TensorSpec(name="feature", dtype="float32", shape=("N", 16)),
        ),
        tolerance={"probability": 1e-3, "heatmap": 1e-2, "feature": 1e-2},
        draw_inputs=partial(draw_pictures, 16),
        metadata={"made_by": "a test"},
    )


def write_graph(plan: Export, folder: Path) -> Path:
    graph = folder / "model.onnx"
    export_graph(plan, graph)
    return graph
