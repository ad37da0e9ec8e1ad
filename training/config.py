"""Typed configuration: nested frozen dataclasses, changed by `--set path.to.key=value`.

A configuration is data only: it says nothing that a run does not do, and a key that does not
exist is an error that names the nearest one which does.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import types
import typing
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from training.errors import ConfigError


def require(holds: bool, key: str, value: object, allowed: str) -> None:
    """Raise ConfigError, naming the key, its value and what is allowed, unless `holds`."""
    if not holds:
        raise ConfigError(f"{key} is {value!r}; it must be {allowed}", field=key)


@dataclass(frozen=True)
class OptimizerConfig:
    """How gradients become steps. `weight_decay` is decoupled for adamw, coupled for the rest."""

    name: Literal["sgd", "adam", "adamw", "muon"] = "adamw"
    """muon: convolutions' filters by Muon, all else by SGD with Nesterov momentum."""
    lr: float = 1e-3
    """Peak learning rate; the schedule scales it. Of the filters alone for muon."""
    momentum: float = 0.9
    """SGD's; 0 is plain SGD. Of the filters alone for muon."""
    nesterov: bool = False
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0
    matrix_lr: float = 0.005
    """Muon's, for matrices: the classifier."""
    vector_lr: float = 25.0
    """Muon's, for biases and the shifts of norms, whose gradients are small."""

    def __post_init__(self) -> None:
        require(self.lr > 0, "lr", self.lr, "above 0")
        require(self.matrix_lr > 0, "matrix_lr", self.matrix_lr, "above 0")
        require(self.vector_lr > 0, "vector_lr", self.vector_lr, "above 0")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "in [0, 1)")
        require(0 <= self.beta1 < 1, "beta1", self.beta1, "in [0, 1)")
        require(0 <= self.beta2 < 1, "beta2", self.beta2, "in [0, 1)")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "0 or more")


@dataclass(frozen=True)
class ScheduleConfig:
    """The learning rate over a run, as a share of its peak: a rise, then the named fall."""

    name: Literal["constant", "linear", "cosine"] = "cosine"
    warmup: float = 0.05
    """Share of all steps in which the rate climbs from 0 to its peak."""
    final: float = 0.0
    """Share of the peak that is left at the last step."""

    def __post_init__(self) -> None:
        require(0 <= self.warmup < 1, "warmup", self.warmup, "in [0, 1)")
        require(0 <= self.final <= 1, "final", self.final, "in [0, 1]")


@dataclass(frozen=True)
class FitConfig:
    """The loop: the same for every kind."""

    epochs: int = 10
    batch_size: int = 64
    seed: int = 1
    clip_norm: float = 0.0
    """Largest global L2 norm of a phase's gradient; 0 leaves gradients alone."""
    ema_decay: float = 0.0
    """Per-step decay of the averaged weights that are evaluated and exported; 0 is no average."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the forward pass; weights stay float32. auto: bfloat16 where hardware multiplies it."""
    validate_every: int = 1
    """Epochs between validations (and the last epoch always)."""
    patience: int = 0
    """Validations without a better figure before the run stops early; 0 never stops."""
    keep: Literal["best", "last"] = "best"
    """The epoch whose weights are served. A schedule that ends at nothing makes the last one the
    best in truth, whichever a small validation set favours."""
    start_share: float = 0.0
    """Of the weights that the fit began with in those that are exported; the rest is what it came
    to (Wortsman et al. 2022, arXiv:2109.01903). Between the two, tuning trades what it taught
    against what it cost."""
    checkpoint_every_s: float = 120.0
    """Seconds between checkpoints inside an epoch; each epoch's end writes one anyway."""

    def __post_init__(self) -> None:
        require(self.epochs >= 1, "epochs", self.epochs, "1 or more")
        require(self.batch_size >= 2, "batch_size", self.batch_size, "2 or more")
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        require(self.clip_norm >= 0, "clip_norm", self.clip_norm, "0 or more")
        require(0 <= self.ema_decay < 1, "ema_decay", self.ema_decay, "in [0, 1)")
        require(self.validate_every >= 1, "validate_every", self.validate_every, "1 or more")
        require(self.patience >= 0, "patience", self.patience, "0 or more")
        require(0 <= self.start_share < 1, "start_share", self.start_share, "in [0, 1)")
        require(self.checkpoint_every_s > 0, "checkpoint_every_s", self.checkpoint_every_s, "> 0")


@dataclass(frozen=True)
class PrivacyConfig:
    """What a fit may tell of one training example: (epsilon, delta)-differential privacy."""

    epsilon: float = 0.0
    """Budget of the whole run; 0 trains without privacy. 1 is strict, 8 is usual, 50 is little."""
    delta: float = 1e-5
    """Probability with which the bound may not hold: well below one in the number of examples."""
    clip_norm: float = 1.0
    """Largest L2 norm that one example's gradient keeps."""

    def __post_init__(self) -> None:
        require(self.epsilon >= 0, "epsilon", self.epsilon, "0 or more")
        require(0 < self.delta < 1, "delta", self.delta, "between 0 and 1")
        require(self.clip_norm > 0, "clip_norm", self.clip_norm, "above 0")


@dataclass(frozen=True)
class KindConfig:
    """Root of a kind's configuration; a kind adds its network, its data and its losses."""

    fit: FitConfig = FitConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    privacy: PrivacyConfig = PrivacyConfig()


ConfigT = TypeVar("ConfigT", bound=KindConfig)


def override(config: ConfigT, assignments: list[str]) -> ConfigT:
    """Return `config` with each `a.b=value` applied; values are JSON, or else plain words.

    Raises ConfigError for an unknown key (naming the nearest), a wrong type or a bad value.
    """
    tree = to_dict(config)
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator:
            raise ConfigError(f"--set {assignment!r} must have the form key=value")
        *groups, leaf = path.strip().split(".")
        at = tree
        for depth, group in enumerate(groups):
            at = _descend(at, group, ".".join(groups[: depth + 1]), list(flatten(config)))
        if leaf not in at or isinstance(at[leaf], dict):
            raise _unknown(path.strip(), list(flatten(config)))
        try:
            at[leaf] = json.loads(text)
        except json.JSONDecodeError:
            at[leaf] = text
    changed: ConfigT = from_dict(type(config), tree)
    return changed


def _descend(tree: dict[str, Any], key: str, path: str, known: list[str]) -> dict[str, Any]:
    below = tree.get(key)
    if not isinstance(below, dict):
        raise _unknown(path, known)
    return below


def _unknown(path: str, known: list[str]) -> ConfigError:
    near = difflib.get_close_matches(path, known, n=1, cutoff=0.0)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ConfigError(f"unknown setting {path!r}{hint}", field=path)


def to_dict(config: Any) -> dict[str, Any]:
    """Nested plain values, tuples as lists: what JSON, a manifest and a checkpoint hold."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def from_dict(kind: type[Any], tree: dict[str, Any], prefix: str = "") -> Any:
    """Build dataclass `kind` from plain values; raises ConfigError for wrong keys or types."""
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    for key in tree:
        if key not in names:
            raise _unknown(prefix + key, [prefix + name for name in names])
    values = {key: _coerce(value, hints[key], f"{prefix}{key}") for key, value in tree.items()}
    try:
        return kind(**values)
    except ConfigError as error:
        path = f"{prefix}{error.field}"
        raise ConfigError(f"{prefix}{error.message}", field=path) from error


def _coerce(value: Any, hint: Any, path: str) -> Any:
    origin, choices = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise ConfigError(f"{path} is {value!r}; it must be a group of settings", field=path)
        return from_dict(typing.cast("type[Any]", hint), value, f"{path}.")
    if origin is Literal:
        if value not in choices:
            raise ConfigError(f"{path} is {value!r}; it must be one of {list(choices)}", field=path)
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{path} is {value!r}; it must be a list such as [1, 2]", field=path)
        return tuple(_coerce(item, choices[0], path) for item in value)
    if origin is types.UnionType:
        return None if value is None else _coerce(value, choices[0], path)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        name = getattr(hint, "__name__", str(hint))
        raise ConfigError(f"{path} is {value!r}; it must be of type {name}", field=path)
    return value


def config_sha256(config: KindConfig) -> str:
    """Hash of the whole configuration: equal configurations, equal hashes.

    Settings that do nothing are left out, so that those which come with a later version do not
    change a hash: privacy where there is none, Muon's rates without Muon, what `keep` always was,
    a mirror that is not used, a start that has no share, images that do not grow, images with
    nothing pasted in, a group's two convolutions, a teacher that is not heard, epochs that show
    every image.
    """
    tree = to_dict(config)
    if not config.privacy.epsilon:
        del tree["privacy"]
    if config.fit.keep == "best":
        del tree["fit"]["keep"]
    if not config.fit.start_share:
        del tree["fit"]["start_share"]
    if tree.get("pruned") == 0:
        del tree["pruned"]
    if tree.get("mirrored") is False:
        del tree["mirrored"]
    if tree.get("distillation", {}).get("weight") == 0:
        del tree["distillation"]
    if tree.get("network", {}).get("convolutions") == 2:
        del tree["network"]["convolutions"]
    if tree.get("augment", {}).get("first_px") == 0:
        del tree["augment"]["first_px"], tree["augment"]["grown_by"]
    if tree.get("augment", {}).get("cutmix") == 0:
        del tree["augment"]["cutmix"]
    _drop_unused_rates(tree)
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def _drop_unused_rates(tree: dict[str, Any]) -> None:
    if "vector_lr" in tree and tree["name"] != "muon":
        del tree["matrix_lr"], tree["vector_lr"]
    for group in tree.values():
        if isinstance(group, dict):
            _drop_unused_rates(group)


def flatten(config: object) -> dict[str, str]:
    """Every setting by its dotted key, as `--set` would be given it."""
    flat: dict[str, str] = {}

    def walk(tree: dict[str, Any], prefix: str) -> None:
        for key, value in tree.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")
            else:
                flat[prefix + key] = value if isinstance(value, str) else json.dumps(value)

    walk(to_dict(config), "")
    return flat


def differences(preset: object, config: object) -> list[str]:
    """`key=value` for every setting in which `config` is not `preset`."""
    before = flatten(preset)
    return [f"{key}={value}" for key, value in flatten(config).items() if before[key] != value]
