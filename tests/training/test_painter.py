"""The generator from its graph: samples, interpolation, a baseline, a look during the fit."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from service.contract import CARD_FILE, GOLDEN_FILE, GRAPH_FILE, TensorSpec
from tests.training.candidates import make_manifest
from tests.training.galleries import Eye, draw, make_data
from training.data.sets import ImageData
from training.errors import ConfigError
from training.export import export_graph
from training.gallery import ask
from training.gauge import Gauge
from training.kinds import kinds
from training.kinds.base import Evaluation, Export
from training.networks.served import ServedGenerator
from training.painter import Painter
from training.partners import set_beside
from training.publish import seal
from training.reports.baseline import report_baseline

CPU = torch.device("cpu")
GAN = kinds()["gan"]


class Blots(torch.nn.Module):
    """A generator that draws its class's channel brightest."""

    def forward(self, noise: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """float32 [N,12] and int64 [N] to float32 [N,3,8,8] in -1..1."""
        cells = torch.nn.functional.interpolate(noise.view(-1, 3, 2, 2), scale_factor=4)
        bright = torch.nn.functional.one_hot(label, 3)[:, :, None, None].float()
        return 0.25 * cells.clamp(-1, 1) + bright - 0.5


NOISE = TensorSpec(name="noise", dtype="float32", shape=("N", 12))
LABEL = TensorSpec(name="label", dtype="int64", shape=("N",), minimum=0, maximum=2)


def export(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    plan = Export(
        module=ServedGenerator(Blots()).eval(),
        inputs=(NOISE, LABEL),
        outputs=(TensorSpec(name="image", dtype="uint8", shape=("N", 8, 8, 3)),),
        tolerance={"image": 1},
        draw_inputs=lambda rows, rng: {
            "noise": rng.standard_normal((rows, 12), dtype=np.float32),
            "label": rng.integers(0, 3, rows),
        },
    )
    export_graph(plan, folder / GRAPH_FILE)
    return folder / GRAPH_FILE


@pytest.fixture(scope="module")
def data() -> ImageData:
    return make_data()


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory, data: ImageData) -> Path:
    """A published generator's version folder."""
    folder = tmp_path_factory.mktemp("painter") / "dots" / "v1"
    export(folder)
    (folder / GOLDEN_FILE).write_bytes(b"golden")
    (folder / CARD_FILE).write_text("# dots\n")
    manifest = msgspec.structs.replace(
        make_manifest("dots"), kind="gan", labels=data.classes, inputs=(NOISE, LABEL)
    )
    seal(folder, manifest)
    return folder


@pytest.fixture(scope="module")
def painter(version: Path) -> Painter:
    return Painter(version / GRAPH_FILE)


def test_samples_are_a_function_of_the_seed(painter: Painter, data: ImageData) -> None:
    asked = ask(data, 50)
    first = painter.sample(asked, 1)
    assert first.shape == (150, 8, 8, 3)
    np.testing.assert_array_equal(first, painter.sample(asked, 1))
    assert (first != painter.sample(asked, 2)).any()
    assert (first.mean(axis=(1, 2)).argmax(axis=1) == asked).all()


def test_the_way_between_two_noises_goes_in_small_steps(painter: Painter) -> None:
    way = painter.interpolate(np.array([2, 0]), 20, seed=0).astype(int)
    assert way.shape == (2, 20, 8, 8, 3)
    assert (way.mean(axis=(1, 2, 3)).argmax(axis=1) == [2, 0]).all()
    steps = np.abs(np.diff(way, axis=1)).mean(axis=(2, 3, 4))
    ends = np.abs(way[:, -1] - way[:, 0]).mean(axis=(1, 2, 3))
    assert (steps.max(axis=1) < 0.4 * ends).all()


def test_a_baseline_is_judged_like_the_model(version: Path, data: ImageData) -> None:
    found = report_baseline(version, data, Eye(), ask(data, 30), 0)
    assert found is not None
    assert found.metrics["baseline_class_agreement"] == 1.0
    assert found.metrics["baseline_frechet_classifier_features"] > 0
    assert "dots v1" in found.sections[0].text
    other = ImageData(**{**vars(data), "classes": ("x", "y", "z")})
    assert report_baseline(version, other, Eye(), ask(data, 30), 0) is None


class Comparing:
    """As much of a kind as a comparison needs."""

    name, baseline = "gan", "dots"

    def compare(
        self, config: object, data: object, baseline: Path, judge: Path | None
    ) -> Evaluation | None:
        return Evaluation({"baseline": 1.0}) if baseline.name == "v1" else None


def beside(store: Path, model: str, named: str | None) -> set[str]:
    own = Evaluation({"own": 2.0})
    kind = Comparing()
    found = set_beside(
        own,
        kind,
        None,
        None,
        store=store,
        model=model,
        judge=None,
        named=named,  # type: ignore[arg-type]
    )
    return set(found.metrics)


def test_the_baseline_stands_beside_all_but_itself(version: Path, tmp_path: Path) -> None:
    store = version.parents[1]
    (version.parent / "CURRENT").write_text("v1\n")
    assert beside(store, "cifar10-gan", None) == {"own", "baseline"}
    assert beside(store, "dots", None) == {"own"}
    assert beside(tmp_path, "cifar10-gan", None) == {"own"}, "not published"
    assert beside(tmp_path, "cifar10-gan", str(version)) == {"own", "baseline"}


def test_a_baseline_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no published gan"):
        beside(tmp_path, "cifar10-gan", "nobody")
    with pytest.raises(ConfigError, match="no published gan"):
        beside(tmp_path, "cifar10-gan", str(tmp_path))


def test_the_gauge_knows_training_images_from_others(data: ImageData) -> None:
    gauge = Gauge(Eye(), data, seed=0)
    same = gauge(data.train.images, data.train.labels)
    assert same["sample_frechet"] == pytest.approx(0.0, abs=1e-3)
    assert same["sample_agreement"] > 0.9
    new = gauge(draw(np.random.default_rng(3), data.train.labels), data.train.labels)
    dark = gauge(data.train.images // 2, (data.train.labels + 1) % 3)
    assert same["sample_frechet"] < new["sample_frechet"] < dark["sample_frechet"]
    assert dark["sample_agreement"] < 0.1


def test_a_fit_is_looked_on_without_being_changed(
    sources: dict[str, Path], cache_dir: Path, tmp_path: Path
) -> None:
    config, loaded = GAN.presets["tiny"], GAN.load_data(str(sources["gan"]), cache_dir)
    task = GAN.task(config, loaded, CPU)
    plain = task.validate(task.modules["generator"], tmp_path, 1)
    assert plain.keys() == {"sheet_deviation"}
    seen = []

    def gauge(images: np.ndarray, asked: np.ndarray) -> dict[str, float]:
        seen.append((images, asked))
        return {"sample_frechet": 1.0}

    task.gauge = gauge
    state = torch.get_rng_state()
    for _ in range(2):
        judged = task.validate(task.modules["generator"], tmp_path, 1)
        assert judged == {**plain, "sample_frechet": 1.0}
    assert torch.equal(torch.get_rng_state(), state)
    (images, asked), (again, _) = seen
    assert images.shape == (len(asked), *loaded.train.images.shape[1:])
    assert images.dtype == np.uint8
    assert np.bincount(asked).tolist() == [config.samples_per_class] * len(loaded.classes)
    np.testing.assert_array_equal(images, again)
