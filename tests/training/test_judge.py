from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from service.contract import CURRENT_FILE
from tests.tiny_store import make_run
from tests.training.conformance import case
from training import checkpoint
from training.data.sets import ImageData, ImageSet
from training.errors import DataError
from training.journal import read_metrics
from training.judge import Judge
from training.pipeline import Options, Pipeline


@pytest.fixture(scope="module")
def version(
    sources: dict[str, Path], cache_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("judge")
    options = Options(store=folder / "models", cache_dir=cache_dir, floors=case("cnn").FLOORS)
    return Pipeline(make_run(folder / "run", "cnn", sources["cnn"]), options).run_all()


def test_the_judge_sees_every_image_in_order(version: Path) -> None:
    judge = Judge(version)
    images = np.random.default_rng(0).integers(0, 256, (130, 32, 32, 3)).astype(np.uint8)
    whole, part = judge.see(images), judge.see(images[100:])
    assert whole.judged.shape == (130,)
    np.testing.assert_array_equal(whole.judged[100:], part.judged)
    np.testing.assert_array_equal(whole.features[100:], part.features)


def test_classes_are_matched_by_name(version: Path) -> None:
    judge = Judge(version)
    assert judge.positions(("frog", "airplane")).tolist() == [6, 0]
    with pytest.raises(DataError, match="does not know"):
        judge.positions(("frog", "unicorn"))


def test_images_of_another_size_are_refused(version: Path) -> None:
    with pytest.raises(DataError, match="reads images of"):
        Judge(version).see(np.zeros((1, 16, 16, 3), np.uint8))


def test_a_published_judge_looks_on_while_a_gan_is_fitted(
    version: Path, sources: dict[str, Path], cache_dir: Path, tmp_path: Path
) -> None:
    store = version.parents[1]
    run = make_run(tmp_path / "run", "gan", sources["gan"])
    Pipeline(run, Options(store=store, cache_dir=cache_dir)).fit()
    seen = read_metrics(run.folder)
    assert len(seen) == 2
    assert all(line["sample_frechet"] > 0 and 0 <= line["sample_agreement"] <= 1 for line in seen)
    unseen = make_run(tmp_path / "other", "gan", sources["gan"])
    Pipeline(unseen, Options(store=tmp_path, cache_dir=cache_dir)).fit()
    assert "sample_frechet" not in read_metrics(unseen.folder)[0]
    weights = [checkpoint.load(one.best)["weights"] for one in (run, unseen)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_a_judge_suits_images_of_its_size_and_classes(version: Path) -> None:
    def data(size: int, *classes: str) -> ImageData:
        images = ImageSet(np.zeros((2, size, size, 3), np.uint8), np.zeros(2, np.int64))
        return ImageData("x", "x", "0", classes, images, images)

    judge = Judge(version)
    assert judge.suits(data(32, "frog", "airplane"))
    assert not judge.suits(data(16, "frog"))
    assert not judge.suits(data(32, "frog", "unicorn"))


def test_what_is_no_published_classifier_cannot_judge(version: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot judge"):
        Judge(tmp_path)
    assert (version.parent / CURRENT_FILE).read_text().strip() == version.name
