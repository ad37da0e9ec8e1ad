"""The plane: networks are the published ones, graphs compute what they do, the front is a front."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from service.session import Session
from tests.bench.plane.arithmetic import graph_multiply_adds, network_multiply_adds
from tests.bench.plane.entrants import (
    WrongNetworkError,
    check_network,
    shipped_entrants,
    write_graph,
)
from tests.bench.plane.front import Point, pareto_front
from tests.bench.plane.networks import Network, deployed, mobilenetv2, repvgg, resnet
from tests.bench.plane.published import PUBLISHED, Published
from tests.bench.plane.report import markdown, row, verdicts, write_report
from tests.bench.plane.timing import time_graphs
from training.kinds.cnn import draw_pictures

SMALL = {
    "resnet8": lambda: resnet(8),
    "mobilenetv2_x0_1": lambda: mobilenetv2(0.1),
    "repvgg": lambda: repvgg((0.125, 0.125, 0.125, 0.25)),
}


def unsettled(network: Network) -> Network:
    """In evaluation mode, with norms that do something."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.3, 0.7)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network.eval()


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda published: published.name)
def test_a_network_costs_and_weighs_what_was_published(published: Published) -> None:
    with torch.device("meta"):
        network = published.build()
    check_network(published, network)
    found_m = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert found_m == pytest.approx(published.parameters_m, rel=0.02, abs=0.005)


def test_another_network_is_refused() -> None:
    with pytest.raises(WrongNetworkError, match=r"resnet20 costs .* published is 40\.81"):
        check_network(PUBLISHED[0], resnet(26))


@pytest.mark.parametrize("build", SMALL.values(), ids=SMALL)
def test_a_graph_answers_as_its_network(build, tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = unsettled(build())
    served = deployed(network)
    x_BCHW = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(served(x_BCHW), network(x_BCHW), rtol=1e-4, atol=1e-4)
    write_graph(network, tmp_path / "a.onnx")
    graph = onnx.load(tmp_path / "a.onnx")
    assert "BatchNormalization" not in {node.op_type for node in graph.graph.node}
    assert graph_multiply_adds(graph) == network_multiply_adds(served)
    # The graph scales pixels by statistics of its own: the same pictures tell networks apart.
    images = draw_pictures(32, 64, np.random.default_rng(0))["image"]
    scale = images.std(axis=(0, 1, 2))
    x_BCHW = torch.from_numpy((images - images.mean(axis=(0, 1, 2))) / scale).float()
    with torch.no_grad():
        expected = network(x_BCHW.permute(0, 3, 1, 2)).softmax(dim=1).numpy()
    found = Session(tmp_path / "a.onnx").run({"image": images}, ["probability"])["probability"]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_folded_network_saves_the_small_convolutions() -> None:
    network = SMALL["repvgg"]()
    trained, served = network_multiply_adds(network), network_multiply_adds(deployed(network))
    classifier = network.classifier.weight.numel()
    assert (served - classifier) * 10 == (trained - classifier) * 9


POINTS = st.lists(
    st.builds(
        Point,
        st.just("some"),
        st.integers(1, 5).map(float),
        st.integers(1, 5).map(float),
    ),
    max_size=12,
)


@given(POINTS)
@settings(max_examples=200, deadline=None)
def test_the_front_is_who_is_not_dominated(points: list[Point]) -> None:
    def dominated(point: Point) -> bool:
        return any(
            other.rate >= point.rate and other.accuracy >= point.accuracy and other != point
            for other in points
        )

    front = pareto_front(points)
    assert set(front) == {point for point in points if not dominated(point)}
    assert len(front) == len(set(front))
    assert [point.rate for point in front] == sorted(point.rate for point in front)
    assert not any(point.beats(member) for member in front for point in points)


def report(**ours: float) -> dict:
    """A fast and a good published model, and ours."""
    found = [("quick", 0.92, 3000.0), ("good", 0.95, 1000.0)]
    entrants = [
        {
            "name": name,
            "ours": name == "ours",
            "precision": "int8" if name == "ours" else "float32",
            "accuracy": accuracy,
            "accuracy_low": accuracy - 0.01,
            "accuracy_high": accuracy + 0.01,
            "test_images": 5000,
            "multiply_adds": 12_345_678,
            "rate_at_1": rate / 2,
            "best_batch": 8,
            "rate": rate,
            "other_cores": 0.01,
        }
        for name, accuracy, rate in [*found, ("ours", ours["accuracy"], ours["rate"])]
    ]
    machine = dict.fromkeys(("processor", "system", "python", "onnxruntime", "date"), "some")
    return {"machine": machine, "rounds": 3, "duration_s": 0.5, "entrants": entrants}


@pytest.mark.parametrize(
    ("accuracy", "rate", "better"),
    [
        (0.94, 2000.0, "no listed model"),
        (0.91, 2000.0, "quick"),
        (0.91, 500.0, "quick, good"),
        (0.95, 900.0, "no listed model"),  # as accurate, not more
    ],
)
def test_the_verdict_names_who_is_better_in_both(accuracy, rate, better) -> None:
    said = verdicts(report(accuracy=accuracy, rate=rate))
    assert said == [
        f"Both faster and more accurate than ours, int8, at {title}: {better}."
        for title in ("one image at a time", "the best batch")
    ]


def test_the_table_has_the_fastest_first_and_says_who_is_on_the_front() -> None:
    text = markdown(report(accuracy=0.91, rate=2000.0))
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert [line.split(" |")[0] for line in rows] == [
        "| quick (published)",
        "| **ours, int8**",
        "| good (published)",
    ]
    assert [line.endswith("| yes |") for line in rows] == [True, False, True]
    assert "91.00% (90.00% to 92.00%) | 12.3 | 1,000 | 1.00 | 2,000 | 8 |" in rows[1]
    assert "The machine was quiet" in text


def test_shipped_classifiers_are_timed_and_reported(tiny_store: Path, tmp_path: Path) -> None:
    entrants = list(shipped_entrants(tiny_store))
    assert {one.name for one in entrants} == {"cifar10"}
    assert all(one.ours and one.multiply_adds > 0 and one.accuracy.trials > 0 for one in entrants)
    timings = time_graphs(
        [one.graph for one in entrants], rounds=2, duration_s=0.01, batches=(1, 4)
    )
    assert all(set(timing.rates) == {1, 4} for timing in timings)
    rows = [row(one, timing) for one, timing in zip(entrants, timings, strict=True)]
    assert all(one["rate"] == max(one["rates"].values()) > 0 for one in rows)
    write_report({**report(accuracy=0.9, rate=1.0), "entrants": rows}, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"plane.json", "plane.md", "plane.png"}
