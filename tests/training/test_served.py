"""A classifier that looks at the mirror image as well."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from service.session import Session
from tests.bench.plane.arithmetic import graph_multiply_adds
from tests.training.quantise.graphs import picture_plan, write_graph
from training.config import config_sha256
from training.configs.cnn import CnnConfig
from training.kinds.base import Arrays, Export
from training.networks.airbench import Airbench, fold_pooled_norms
from training.networks.served import ServedClassifier
from training.quantise.convolution import quantise_convolutions
from training.tasks.classification import predict_logits

MEAN, DEVIATION, TEMPERATURE = (120.0, 110.0, 100.0), (60.0, 61.0, 62.0), 0.7
BEFORE = "8083c579bb8229a0b425c268f24d0b1a9fb21cf118c0954a0cba0eba731df996"
"""Hash of the plain settings, made before there was a mirror among them."""


def mirrored_plan() -> Export:
    """As `picture_plan`, with its mirror image; temperature and statistics of their own."""
    torch.manual_seed(0)
    network = fold_pooled_norms(Airbench(3, (16, 16)))
    served = ServedClassifier(network, MEAN, DEVIATION, TEMPERATURE, mirrored=True).eval()
    return replace(picture_plan(), module=served)


def ask(graph: Path, images: np.ndarray) -> Arrays:  # type: ignore[type-arg]
    return Session(graph).run({"image": images}, ["probability", "heatmap", "feature"])


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_graph(mirrored_plan(), tmp_path_factory.mktemp("mirrored"))


@pytest.fixture(scope="module")
def images() -> np.ndarray:  # type: ignore[type-arg]
    return picture_plan().draw_inputs(7, np.random.default_rng(3))["image"]


def test_an_image_and_its_mirror_image_are_the_same_to_it(graph: Path, images) -> None:  # type: ignore[no-untyped-def]
    seen, mirrored = ask(graph, images), ask(graph, np.ascontiguousarray(images[:, :, ::-1]))
    assert not np.array_equal(images, images[:, :, ::-1])
    np.testing.assert_allclose(seen["probability"], mirrored["probability"], atol=1e-5)
    np.testing.assert_allclose(seen["feature"], mirrored["feature"], atol=1e-5)
    np.testing.assert_allclose(seen["heatmap"], mirrored["heatmap"][:, :, ::-1], atol=1e-4)


def test_it_answers_by_the_mean_of_two_logits_as_a_fit_measures_it(graph: Path, images) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    network = fold_pooled_norms(Airbench(3, (16, 16)))
    logits = partial(predict_logits, network, mean=MEAN, deviation=DEVIATION, rows=4)
    both = logits(images=images, device=torch.device("cpu"), mirrored=True)
    once = logits(images=images, device=torch.device("cpu"))
    expected = (both / TEMPERATURE).softmax(dim=1).numpy()
    np.testing.assert_allclose(ask(graph, images)["probability"], expected, atol=1e-5)
    assert not torch.allclose(both, once, atol=1e-3)


def test_rows_do_not_depend_on_their_batch(graph: Path, images) -> None:  # type: ignore[no-untyped-def]
    together = ask(graph, images)
    for row in range(len(images)):
        alone = ask(graph, images[row : row + 1])
        for name, array in alone.items():
            assert np.array_equal(array[0], together[name][row]), name


def test_it_costs_twice_the_arithmetic(graph: Path, tmp_path: Path) -> None:
    once = graph_multiply_adds(onnx.load(write_graph(picture_plan(), tmp_path)))
    twice = graph_multiply_adds(onnx.load(graph))
    classifier = 16 * 3  # of the mean, once
    assert twice - classifier == 2 * (once - classifier)


def test_class_maps_stay_float32_in_int8(graph: Path, images, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    target = tmp_path / "int8.onnx"
    assert quantise_convolutions(graph, target, images)
    made = onnx.load(target).graph
    made_by = {name: node.op_type for node in made.node for name in node.output}
    convolutions = [node for node in made.node if node.op_type == "Conv"]
    int8 = [made_by.get(node.input[1]) == "DequantizeLinear" for node in convolutions]
    assert int8 == [False, True, True, True, True, False]
    np.testing.assert_allclose(
        ask(target, images)["probability"], ask(graph, images)["probability"], atol=0.05
    )


def test_a_mirror_that_is_not_used_leaves_a_configurations_hash_alone() -> None:
    plain = CnnConfig()
    assert config_sha256(plain) == BEFORE
    assert config_sha256(replace(plain, mirrored=True)) != BEFORE
    growing = replace(plain, augment=replace(plain.augment, first_px=20))
    assert config_sha256(growing) != BEFORE
