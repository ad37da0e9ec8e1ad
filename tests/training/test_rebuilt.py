"""A graph rebuilt in torch, its gradients, and attacks through them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.training.conformance import case
from training.attacks import Attacker
from training.classifier import Classifier
from training.config import override
from training.errors import ExportError
from training.export import export_graph
from training.kinds import kinds
from training.rebuilt import RebuiltClassifier

CPU = torch.device("cpu")
CNN = kinds()["cnn"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    source = case("cnn").write_data(tmp_path_factory.mktemp("data"))
    return CNN.load_data(str(source), tmp_path_factory.mktemp("cache")).test.images


@pytest.mark.parametrize("preset", sorted(CNN.presets))
def test_every_preset_rebuilt_gives_what_its_graph_gives(
    preset: str, images: np.ndarray, sources: dict[str, Path], cache_dir: Path, tmp_path: Path
) -> None:
    config = CNN.presets[preset]
    data = CNN.load_data(str(sources["cnn"]), cache_dir)
    task = CNN.task(override(config, []), data, CPU)
    graph = tmp_path / "model.onnx"
    export_graph(CNN.export(config, data, task.modules[task.served].eval()), graph)
    rebuilt = RebuiltClassifier(graph)
    with torch.no_grad():
        found = rebuilt(torch.from_numpy(images).float()).softmax(dim=1).numpy()
    np.testing.assert_allclose(found, Classifier(graph).probabilities(images), atol=1e-5)


class Pooling(nn.Module):
    """Padded pools, a residual sum and a strided convolution: what networks may be made of."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4)
        self.classifier = nn.Linear(8 * 4, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv1(image.float().permute(0, 3, 1, 2) / 255))
        x = F.max_pool2d(F.relu(x + self.conv2(x)), 3, stride=2, padding=1)
        x = F.avg_pool2d(x, 2)
        return self.classifier(x.flatten(1)).softmax(dim=1)


def export(module: nn.Module, path: Path, size: int = 16) -> Path:
    example = torch.zeros((2, size, size, 3), dtype=torch.uint8)
    torch.onnx.export(
        module.eval(),
        (example,),
        str(path),
        input_names=["image"],
        output_names=["probability"],
        dynamic_axes={"image": {0: "N"}, "probability": {0: "N"}},
        opset_version=18,
        dynamo=False,
    )
    return path


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_other_operators_are_rebuilt_too(tmp_path: Path) -> None:
    module = Pooling()
    graph = export(module, tmp_path / "model.onnx")
    pictures = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    )
    with torch.no_grad():
        found = RebuiltClassifier(graph)(pictures.float()).softmax(dim=1)
        torch.testing.assert_close(found, module(pictures))


class Half(nn.Module):
    """Class 1 where the left half is brighter than the right one."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x_NHW = image.float().mean(dim=3) / 255
        brighter_N = (x_NHW[:, :, :8].mean(dim=(1, 2)) - x_NHW[:, :, 8:].mean(dim=(1, 2))) * 20
        return torch.stack((-brighter_N, brighter_N), dim=1).softmax(dim=1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_operator_that_is_not_known_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no gradient is known of operator Neg"):
        RebuiltClassifier(export(Half(), tmp_path / "model.onnx"))


class Balance(nn.Module):
    """Class 1 where red outweighs blue: an attack must take from one and give to the other."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(3, 2, bias=False)
        weight = torch.tensor([[-1.0, 0.0, 1.0], [1.0, 0.0, -1.0]])
        self.classifier.weight = nn.Parameter(weight)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        map_NCHW = image.float().permute(0, 3, 1, 2) / 255
        logits = self.classifier(map_NCHW.mean(dim=(2, 3))) * 10
        return logits.softmax(dim=1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_attacks_stay_within_their_bound_and_cross_a_margin_they_can_reach(tmp_path: Path) -> None:
    graph = export(Balance(), tmp_path / "model.onnx")
    pictures = np.full((20, 16, 16, 3), 120, np.uint8)
    pictures[..., 0] += 10  # red leads by 10 levels: 2 levels cannot turn it, 8 can
    label = np.ones(20, np.int64)
    classifier = Classifier(graph)
    assert (classifier.probabilities(pictures).argmax(axis=1) == 1).all()
    attacker = Attacker(graph, pictures)
    for levels, left in ((2, 1.0), (8, 0.0)):
        for changed in (
            attacker.fgsm(pictures, label, levels),
            attacker.pgd(pictures, label, levels, seed=1),
        ):
            assert changed.dtype == np.uint8
            assert np.abs(changed.astype(int) - pictures).max() <= levels
            right = classifier.probabilities(changed).argmax(axis=1) == label
            assert right.mean() == left
    np.testing.assert_array_equal(
        attacker.pgd(pictures, label, 2, seed=3), attacker.pgd(pictures, label, 2, seed=3)
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_rebuilt_network_that_differs_from_its_graph_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = export(Balance(), tmp_path / "model.onnx")
    honest = RebuiltClassifier.forward
    monkeypatch.setattr(RebuiltClassifier, "forward", lambda self, x: honest(self, x) * 0.5)
    with pytest.raises(ExportError, match="rebuilt in torch, its probabilities differ"):
        pictures = np.full((2, 16, 16, 3), (130, 0, 100), np.uint8)
        Attacker(graph, pictures)
