"""Weights read back from a graph: what a fit can begin with when the run is gone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from training.config import override
from training.errors import ConfigError
from training.export import export_graph
from training.kinds import kinds
from training.tasks.base import Task
from training.tasks.classification import CnnTask, normalise

CPU = torch.device("cpu")
CNN, LSTM = kinds()["cnn"], kinds()["lstm"]


def seen(task: CnnTask) -> nn.Module:
    """The task's network with norms that have measured something, and shifts that do something."""
    network = task.modules[task.served]
    torch.manual_seed(5)
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.bias.normal_(std=0.3)
        network.train()
        for _ in range(8):
            network(normalise(task.images, task.mean, task.deviation))
    return network.eval()


@pytest.mark.parametrize("preset", ["softmax", "textbook", "tiny", "fast"])
def test_a_classifier_answers_as_the_network_that_was_exported(
    preset: str, sources: dict[str, Path], cache_dir: Path, tmp_path: Path
) -> None:
    config = override(CNN.presets[preset], ["validation_share=0.25"])  # and so a temperature
    data = CNN.load_data(str(sources["cnn"]), cache_dir)
    task = CNN.task(config, data, CPU)
    before = seen(task)
    export_graph(CNN.export(config, data, before), tmp_path / "model.onnx")
    x_BCHW = normalise(torch.from_numpy(data.test.images), task.mean, task.deviation)
    again = CNN.task(override(config, ["fit.seed=9"]), data, CPU)
    network = again.modules[again.served].eval()
    with torch.no_grad():
        assert not torch.allclose(network(x_BCHW), before(x_BCHW), atol=1e-2)
        network.load_state_dict(CNN.recover(config, data, tmp_path / "model.onnx"))
        torch.testing.assert_close(network(x_BCHW), before(x_BCHW), atol=2e-4, rtol=2e-3)


def test_in_training_its_norms_begin_near_what_they_will_measure(
    sources: dict[str, Path], cache_dir: Path, tmp_path: Path
) -> None:
    config = CNN.presets["tiny"]
    data = CNN.load_data(str(sources["cnn"]), cache_dir)
    task = CNN.task(config, data, CPU)
    export_graph(CNN.export(config, data, seen(task)), tmp_path / "model.onnx")
    network = task.modules[task.served]
    network.load_state_dict(CNN.recover(config, data, tmp_path / "model.onnx"))
    x_BCHW = normalise(task.images, task.mean, task.deviation)
    means: list[torch.Tensor] = []
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.register_forward_pre_hook(lambda m, x: means.append(x[0].mean(dim=(0, 2, 3))))
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    held = [norm.running_mean.clone() for norm in norms]
    with torch.no_grad():
        network.eval()(x_BCHW)
        for mean, found in zip(held, means, strict=True):
            torch.testing.assert_close(mean, found, atol=1e-4, rtol=1e-3)
        still, moving = network(x_BCHW), network.train()(x_BCHW)
    assert float((moving - still).abs().mean()) < 0.1 * float(still.std())


def test_a_text_model_comes_back_to_the_bit(
    sources: dict[str, Path], cache_dir: Path, tmp_path: Path
) -> None:
    config = override(LSTM.presets["tiny"], ["network.layers=2"])
    data = LSTM.load_data(str(sources["lstm"]), cache_dir)
    network = LSTM.task(config, data, CPU).modules["network"]
    with torch.no_grad():
        for weight in network.parameters():
            weight.normal_(std=0.2)
    export_graph(LSTM.export(config, data, network), tmp_path / "model.onnx")
    found = LSTM.recover(config, data, tmp_path / "model.onnx")
    assert found.keys() == network.state_dict().keys()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(found[name], value, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("kind", "preset", "other", "said"),
    [
        ("cnn", "tiny", ["network.widths=[16]"], "is of another network"),
        ("lstm", "tiny", ["network.hidden=24"], "is of another network"),
        ("cnn", "textbook", ["privacy.epsilon=8"], "a private fit's norms are others"),
    ],
)
def test_a_graph_of_another_network_is_refused(
    kind: str,
    preset: str,
    other: list[str],
    said: str,
    sources: dict[str, Path],
    cache_dir: Path,
    tmp_path: Path,
) -> None:
    family = kinds()[kind]
    config = family.presets[preset]
    data = family.load_data(str(sources[kind]), cache_dir)
    task: Task = family.task(config, data, CPU)
    export_graph(
        family.export(config, data, task.modules[task.served].eval()), tmp_path / "model.onnx"
    )
    with pytest.raises(ConfigError, match=said):
        family.recover(override(config, other), data, tmp_path / "model.onnx")


def test_a_generators_graph_has_folded_more_than_can_be_put_back(tmp_path: Path) -> None:
    gan = kinds()["gan"]
    with pytest.raises(ConfigError, match="a gan cannot begin with a published graph"):
        gan.recover(gan.presets["tiny"], np.empty(0), tmp_path / "model.onnx")
