"""A wider classifier that begins as a narrower one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.kinds import kinds
from training.networks.airbench import Airbench
from training.networks.growth import widened

CPU = torch.device("cpu")
LAST = "classifier.weight"


def lived_in(network: Airbench) -> Airbench:
    """With weights and statistics that a fit might have left."""
    generator = torch.Generator().manual_seed(1)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            drawn = torch.rand(value.shape, generator=generator)
            value.copy_(drawn + 0.5 if "var" in name else 0.3 * (drawn - 0.4))
    return network.eval()


@pytest.mark.parametrize("convolutions", [2, 3])
def test_it_answers_as_the_narrower_one_and_can_leave_it(convolutions: int) -> None:
    torch.manual_seed(0)
    narrow = lived_in(Airbench(4, (8, 16), convolutions))
    wide = Airbench(4, (12, 40), convolutions).eval()
    wide.load_state_dict(widened(narrow.state_dict(), wide.state_dict(), last=LAST))
    x_BCHW = torch.randn(5, 3, 16, 16)
    torch.testing.assert_close(wide(x_BCHW), narrow(x_BCHW), rtol=1e-4, atol=1e-5)
    wide.train()(x_BCHW).logsumexp(dim=1).sum().backward()
    new = wide.classifier.weight[:, 16:]
    assert not new.any(), "nothing is read from a new channel yet"
    gradient = wide.classifier.weight.grad
    assert gradient is not None
    gradient_KD = gradient[:, 16:]
    assert bool(gradient_KD.any(dim=0).float().mean() > 0.9), "but it is about to be"
    columns = {tuple(column) for column in gradient_KD.T.round(decimals=6).tolist()}
    assert len(columns) > 20, "and no two are alike"


def test_another_network_s_weights_stay_as_they_are() -> None:
    narrow = Airbench(4, (8, 16)).state_dict()
    for other in (
        Airbench(4, (4, 32)),  # one group is narrower
        Airbench(4, (8, 16), 3),  # other layers
        Airbench(6, (8, 32)),  # other classes: the first four are not those that it knows
    ):
        assert widened(narrow, other.state_dict(), last=LAST) is narrow
    same = widened(narrow, Airbench(4, (8, 16)).state_dict(), last=LAST)
    assert all(torch.equal(same[name], value) for name, value in narrow.items())


def test_a_classifier_s_task_grows_what_it_begins_with(
    sources: dict[str, Path], cache_dir: Path
) -> None:
    family = kinds()["cnn"]
    config = family.presets["tiny"]
    data = family.load_data(str(sources["cnn"]), cache_dir)
    narrow = family.task(config, data, CPU).modules["network"].eval()
    network = replace(config.network, widths=(32, 48))
    task = family.task(replace(config, network=network), data, CPU)
    wide = task.modules["network"].eval()
    wide.load_state_dict(task.fit_in(narrow.state_dict()))
    x_BCHW = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(wide(x_BCHW), narrow(x_BCHW), rtol=1e-4, atol=1e-5)


def test_weights_of_smaller_images_are_no_start_for_a_regression(
    sources: dict[str, Path], cache_dir: Path
) -> None:
    family = kinds()["cnn"]
    config = replace(family.presets["softmax"], fit=family.presets["tiny"].fit)
    task = family.task(config, family.load_data(str(sources["cnn"]), cache_dir), CPU)
    own = task.modules["network"].state_dict()
    smaller = {name: value[..., :48] for name, value in own.items()}
    assert task.fit_in(smaller) is smaller
