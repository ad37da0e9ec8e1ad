"""The served version beside a candidate: real graphs, on the same images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from service.contract import GRAPH_FILE, Manifest, TensorSpec
from tests.training.candidates import make_manifest
from training.comparison import draw, find_obstacle, measure_beside
from training.config import override
from training.export import export_graph
from training.kinds import kinds
from training.kinds.base import Export

CPU = torch.device("cpu")


@dataclass
class Side:
    plan: Export
    graph: Path
    manifest: Manifest


@dataclass
class Table:
    """Untrained classifiers of the same data, by seed and width."""

    folder: Path
    data: Any

    def side(self, seed: int, width: int = 16) -> Side:
        kind = kinds()["cnn"]
        settings = [f"fit.seed={seed}", f"network.widths=[{2 * width},{width}]"]
        config = override(kind.presets["tiny"], settings)
        task = kind.task(config, self.data, CPU)
        plan = kind.export(config, self.data, task.modules[task.served].eval())
        graph = self.folder / f"{seed}-{width}" / GRAPH_FILE
        export_graph(plan, graph)
        manifest = msgspec.structs.replace(
            make_manifest(),
            inputs=plan.inputs,
            labels=plan.labels,
            metrics={"test_accuracy": 0.5},
        )
        return Side(plan, graph, manifest)

    def compare(self, new: Side, old: Side) -> Any:
        kind = kinds()["cnn"]
        return measure_beside(
            *(kind, kind.presets["tiny"], self.data, new.plan),
            graph=new.graph,
            served=old.manifest,
            folder=old.graph.parent,
            judge=None,
        )


@pytest.fixture
def table(sources: dict[str, Path], cache_dir: Path, tmp_path: Path) -> Table:
    return Table(tmp_path, kinds()["cnn"].load_data(str(sources["cnn"]), cache_dir))


def test_both_answer_every_test_image(table: Table) -> None:
    new, old = table.side(3), table.side(4)
    test = table.compare(new, old).tests["test_accuracy"]
    kind = kinds()["cnn"]
    for side, value in ((new, test.value), (old, test.served)):
        assert kind.score(kind.presets["tiny"], table.data, side.graph)["test_accuracy"] == value
    assert test.examples == len(table.data.test.labels)
    assert test.better - test.worse == pytest.approx(test.examples * (test.value - test.served))
    assert test.worse + test.better > 0


def test_a_version_beside_itself_is_as_good_and_as_large(table: Table) -> None:
    side = table.side(1)
    beside = table.compare(side, side)
    test = beside.tests["test_accuracy"]
    assert (test.worse, test.better, test.p_value) == (0, 0, 1.0)
    assert beside.costs["size_ratio"] == 1.0
    assert beside.obstacle == ""


def test_a_larger_and_slower_network_shows(table: Table) -> None:
    costs = table.compare(table.side(1, width=128), table.side(2, width=16)).costs
    assert costs["size_ratio"] > 4
    assert costs["time_ratio"] > 1.5


def test_other_classes_leave_the_published_figures(table: Table) -> None:
    new, old = table.side(1), table.side(2)
    old.manifest = msgspec.structs.replace(old.manifest, labels=("ant", "bee"))
    beside = table.compare(new, old)
    assert beside.tests == {}
    assert "other classes" in beside.obstacle
    assert beside.metrics == {"test_accuracy": 0.5}
    assert set(beside.costs) == {"time_ratio", "size_ratio"}


def test_a_served_file_that_is_damaged_does_not_stay_for_that(table: Table) -> None:
    new, old = table.side(1), table.side(2)
    old.graph.write_bytes(b"not a graph")
    beside = table.compare(new, old)
    assert "cannot be measured" in beside.obstacle
    assert (beside.tests, beside.costs) == ({}, {})


def test_what_two_versions_cannot_be_asked_alike(table: Table) -> None:
    side = table.side(1)
    (image,) = side.plan.inputs
    larger = (msgspec.structs.replace(image, shape=("N", 99, 99, 3)),)
    assert find_obstacle(("image",), side.plan, side.manifest) == ""
    assert "vocabulary" in find_obstacle((), replace(side.plan, vocabulary="ab"), side.manifest)
    assert "image of another shape" in find_obstacle(
        ("image",), replace(side.plan, inputs=larger), side.manifest
    )


def test_rows_are_drawn_as_the_specs_allow() -> None:
    drawn = draw(
        (
            TensorSpec(name="token", dtype="int64", shape=("N", "T"), minimum=3, maximum=4),
            TensorSpec(name="state", dtype="float32", shape=("N", 5)),
            TensorSpec(name="image", dtype="uint8", shape=("N", 2, 2, 3), minimum=0, maximum=255),
        ),
        seed=0,
    )
    assert {name: (str(a.dtype), a.shape) for name, a in drawn.items()} == {
        "token": ("int64", (1, 1)),
        "state": ("float32", (1, 5)),
        "image": ("uint8", (1, 2, 2, 3)),
    }
    assert drawn["token"].item() in (3, 4)
    assert np.isfinite(drawn["state"]).all()
