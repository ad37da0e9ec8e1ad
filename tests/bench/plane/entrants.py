"""Who is on the plane: published networks written by this repository's exporter, shipped graphs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch

from service.contract import GRAPH_FILE, Manifest
from service.store import Store
from tests.bench.plane.arithmetic import graph_multiply_adds, network_multiply_adds
from tests.bench.plane.networks import CLASSES, SIZE, Network, deployed
from tests.bench.plane.published import PUBLISHED, TEST_IMAGES, Published
from training.configs.cnn import CnnConfig
from training.data.sets import ImageData, ImageSet
from training.export import export_graph
from training.kinds.cnn import KIND, draw_pictures
from training.measures.proportion import Proportion

TOLERANCE = 0.02  # of the published count, which is rounded and may leave out the last layer


class WrongNetworkError(RuntimeError):
    """A network that is not the published one: it costs another number of multiply-adds."""


@dataclass(frozen=True)
class Entrant:
    """A graph to be timed, and how well its weights do."""

    name: str
    graph: Path
    ours: bool
    precision: str
    accuracy: Proportion
    multiply_adds: int
    """Of the graph, an image."""


def published_entrants(folder: Path) -> Iterator[Entrant]:
    """Write the published networks with random weights into `folder`, one after the other.

    Raises:
        WrongNetworkError: one does not cost what was published.

    """
    for published in PUBLISHED:
        torch.manual_seed(0)
        network = published.build()
        check_network(published, network)
        graph = folder / f"{published.name}.onnx"
        write_graph(network, graph)
        yield Entrant(
            name=published.name,
            graph=graph,
            ours=False,
            precision="float32",
            accuracy=Proportion(round(published.accuracy * TEST_IMAGES), TEST_IMAGES),
            multiply_adds=graph_multiply_adds(onnx.load(graph)),
        )


def check_network(published: Published, network: Network) -> None:
    """Raise WrongNetworkError unless the network costs what was published."""
    found_m = network_multiply_adds(network) / 1e6
    if abs(found_m / published.multiply_adds_m - 1) > TOLERANCE:
        raise WrongNetworkError(
            f"{published.name} costs {found_m:.2f} million multiply-adds an image; published is "
            f"{published.multiply_adds_m:.2f}"
        )


def write_graph(network: Network, path: Path) -> None:
    """Export a network as the classifiers of this repository are exported."""
    rng = np.random.default_rng(0)
    images = draw_pictures(SIZE, 64, rng)["image"]  # for the scale of the channels
    some = ImageSet(images, np.zeros(len(images), dtype=np.int64))
    data = ImageData("blots", "", "", tuple(map(str, range(CLASSES))), train=some, test=some)
    config = CnnConfig(validation_share=0.0)  # random weights have no temperature to fit
    export_graph(KIND.export(config, data, deployed(network)), path)


def shipped_entrants(root: Path) -> Iterator[Entrant]:
    """Every graph of every current classifier of the store `root`."""
    store = Store(root)
    for name in store.names():
        version = store.current(name)
        manifest = store.verified(name, version)
        if manifest.kind == KIND.name:
            yield from _variants(manifest, store.folder(name, version))


def _variants(manifest: Manifest, folder: Path) -> Iterator[Entrant]:
    # Whatever its numbers are made of, a variant multiplies and adds as often.
    multiply_adds = graph_multiply_adds(onnx.load(folder / GRAPH_FILE))
    images = manifest.data.examples["test"]
    for variant in manifest.variants or (manifest.served,):
        metrics = manifest.metrics | variant.metrics
        yield Entrant(
            name=manifest.name,
            graph=folder / variant.graph,
            ours=True,
            precision=variant.precision,
            accuracy=Proportion(round(metrics["test_accuracy"] * images), images),
            multiply_adds=multiply_adds,
        )
