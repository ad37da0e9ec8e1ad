from __future__ import annotations

import dataclasses
import hashlib
import json

import pytest

from training.config import (
    FitConfig,
    KindConfig,
    config_sha256,
    differences,
    from_dict,
    override,
    to_dict,
)
from training.configs.cnn import CnnConfig
from training.configs.gan import GanConfig
from training.configs.gan import NetworkConfig as GanNetworkConfig
from training.errors import ConfigError
from training.kinds import kinds

EVERY_PRESET = [
    pytest.param(preset, id=f"{kind.name}-{name}")
    for kind in kinds().values()
    for name, preset in kind.presets.items()
]


@pytest.mark.parametrize("preset", EVERY_PRESET)
def test_presets_survive_being_written_and_read(preset: object) -> None:
    assert from_dict(type(preset), to_dict(preset)) == preset


def test_set_changes_nested_values_of_every_type() -> None:
    changed = override(
        CnnConfig(),
        [
            "optimizer.lr=0.1",
            "optimizer.nesterov=true",
            "fit.epochs=3",
            "network.widths=[16, 32]",
            "schedule.name=linear",
            "label_smoothing=0",
        ],
    )
    assert changed.optimizer.lr == 0.1
    assert changed.optimizer.nesterov is True
    assert changed.fit.epochs == 3
    assert changed.network.widths == (16, 32)
    assert changed.schedule.name == "linear"
    assert isinstance(changed.label_smoothing, float)
    assert changed.fit.batch_size == CnnConfig().fit.batch_size


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("optimizer.lrr=1", "unknown setting 'optimizer.lrr'; did you mean 'optimizer.lr'?"),
        ("optimiser.lr=1", "did you mean 'optimizer.lr'?"),
        ("fit.epoch=1", "did you mean 'fit.epochs'?"),
        ("label_smoothin=0.1", "did you mean 'label_smoothing'?"),
        ("optimizer=3", "unknown setting 'optimizer'"),
        ("fit.epochs.more=3", "unknown setting"),
        ("fit.epochs", "must have the form key=value"),
        ("fit.epochs=many", "fit.epochs is 'many'; it must be of type int"),
        ("fit.epochs=1.5", "fit.epochs is 1.5; it must be of type int"),
        ("fit.epochs=true", "fit.epochs is True; it must be of type int"),
        ("fit.epochs=0", "fit.epochs is 0; it must be 1 or more"),
        ("optimizer.lr=-1", "optimizer.lr is -1.0; it must be above 0"),
        ("optimizer.lr=NaN", "optimizer.lr is nan"),
        ("optimizer.name=sdg", "optimizer.name is 'sdg'; it must be one of"),
        ("network.widths=3", "it must be a list"),
        ("network.widths=[]", "network.widths"),
        ("fit.patience=2", "validation_share"),
    ],
)
def test_a_bad_setting_names_its_key_and_what_would_do(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        override(CnnConfig(), [assignment])
    assert message in refusal.value.message


def test_a_gan_refuses_what_its_networks_cannot_do() -> None:
    with pytest.raises(
        ConfigError, match=r"class_weight is 0\.5; it must be 0 but for the projection critic"
    ):
        GanConfig(network=GanNetworkConfig(architecture="dcgan"), class_weight=0.5)
    with pytest.raises(ConfigError, match="patience"):
        GanConfig(fit=FitConfig(patience=1))


def test_the_hash_tells_configurations_apart() -> None:
    base = CnnConfig()
    assert config_sha256(base) == config_sha256(CnnConfig())
    assert config_sha256(base) != config_sha256(dataclasses.replace(base, label_smoothing=0.1))


def test_a_configuration_keeps_the_hash_it_had_before_settings_came_that_it_does_not_use() -> None:
    tree = to_dict(KindConfig())
    del tree["privacy"], tree["fit"]["keep"], tree["fit"]["start_share"]
    del tree["optimizer"]["matrix_lr"], tree["optimizer"]["vector_lr"]
    before = hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()
    assert config_sha256(KindConfig()) == before


def test_settings_that_do_nothing_leave_the_hash_alone() -> None:
    for before, changed, moves in (
        ([], ["optimizer.vector_lr=1"], False),
        (["optimizer.name=muon"], ["optimizer.vector_lr=1"], True),
        ([], ["privacy.delta=0.1"], False),
        (["privacy.epsilon=1"], ["privacy.delta=0.1"], True),
        ([], ["fit.keep=best"], False),
        ([], ["fit.keep=last"], True),
        ([], ["fit.start_share=0.0"], False),
        ([], ["fit.start_share=0.5"], True),
        ([], ["mirrored=false"], False),
        ([], ["mirrored=true"], True),
        ([], ["pruned=0.0"], False),
        ([], ["pruned=0.5"], True),
    ):
        base = override(CnnConfig(), before)
        other = override(base, changed)
        assert (config_sha256(base) != config_sha256(other)) is moves, changed


def test_differences_are_what_set_needs_to_get_there() -> None:
    settings = ["optimizer.name=sgd", "network.widths=[16]", "fit.seed=4"]
    changed = override(CnnConfig(), settings)
    assert override(CnnConfig(), differences(CnnConfig(), changed)) == changed
    assert differences(CnnConfig(), CnnConfig()) == []
