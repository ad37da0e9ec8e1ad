"""What a search may change: settings by their dotted keys, each with the values it may take.

A kind declares its space beside its presets; `--space` narrows it or replaces parts of it. Values
are drawn as `--set` assignments, so that a trial's configuration is one a user could have typed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.config import KindConfig, flatten, override, require
from training.errors import ConfigError

if TYPE_CHECKING:
    import optuna

DIGITS = 3  # of a drawn number: what a preset would spell out, and finer than a search can tell


@dataclass(frozen=True)
class Real:
    """A number in low..high, uniform, or log-uniform where the magnitude is what is unknown."""

    key: str
    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _require_range(self.key, self.low, self.high, self.log)

    def assign(self, trial: optuna.Trial) -> str:
        """`key=value`, drawn by the study's sampler."""
        value = trial.suggest_float(self.key, self.low, self.high, log=self.log)
        return f"{self.key}={float(f'{value:.{DIGITS}g}')!r}"

    def describe(self) -> str:
        """The values, for people."""
        return f"{self.low:g} to {self.high:g}{', logarithmic' if self.log else ''}"


@dataclass(frozen=True)
class Whole:
    """A whole number in low..high, by steps of `step`."""

    key: str
    low: int
    high: int
    step: int = 1

    def __post_init__(self) -> None:
        _require_range(self.key, self.low, self.high, False)
        require((self.high - self.low) % self.step == 0, self.key, self.step, "a step that fits")

    def assign(self, trial: optuna.Trial) -> str:
        """`key=value`, drawn by the study's sampler."""
        return f"{self.key}={trial.suggest_int(self.key, self.low, self.high, step=self.step)}"

    def describe(self) -> str:
        """The values, for people."""
        return f"{self.low} to {self.high}" + (f" by {self.step}" if self.step > 1 else "")


@dataclass(frozen=True)
class Choice:
    """One of several values, each spelt as `--set` takes it."""

    key: str
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        require(len(set(self.values)) > 1, self.key, self.values, "two or more different values")

    def assign(self, trial: optuna.Trial) -> str:
        """`key=value`, drawn by the study's sampler."""
        return f"{self.key}={trial.suggest_categorical(self.key, list(self.values))}"

    def describe(self) -> str:
        """The values, for people."""
        return ", ".join(self.values)


Dimension = Real | Whole | Choice


def _require_range(key: str, low: float, high: float, log: bool) -> None:
    require(low < high, key, f"{low}..{high}", "a range whose start is below its end")
    require(low > 0 or not log, key, low, "above 0 on a logarithmic scale")


def choose_space(
    space: Sequence[Dimension], chosen: Sequence[str], config: KindConfig
) -> tuple[Dimension, ...]:
    """The kind's space, or what `--space` asks for.

    Each of `chosen` is a key of the kind's space, `key=low..high`, `key=low..high:log` or
    `key=a|b|c`. Raises ConfigError for a key or a value that `config` does not take.
    """
    if not chosen:
        return tuple(space)
    known = {dimension.key: dimension for dimension in space}
    dimensions: dict[str, Dimension] = {}
    for text in chosen:
        key, separator, values = text.partition("=")
        if separator:
            dimensions[key] = _parse(key, values, config)
        elif key in known:
            dimensions[key] = known[key]
        else:
            raise ConfigError(
                f"--space {key!r} is not in the kind's own space ({', '.join(known) or 'none'}); "
                f"give its values as well: {key}=low..high, low..high:log or a|b|c",
                field="space",
            )
    for dimension in dimensions.values():
        _check(dimension, config)
    return tuple(dimensions.values())


def _parse(key: str, values: str, config: KindConfig) -> Dimension:
    if ".." not in values:
        return Choice(key, tuple(values.split("|")))
    span, _, scale = values.partition(":")
    low, _, high = span.partition("..")
    if scale not in ("", "log"):
        raise ConfigError(f"--space {key}={values}: only `:log` may follow", field="space")
    try:
        if not scale and _is_whole(key, config):
            return Whole(key, int(low), int(high))
        return Real(key, float(low), float(high), log=bool(scale))
    except ValueError as error:
        raise ConfigError(f"--space {key}={values} is not a range of numbers") from error


def _is_whole(key: str, config: KindConfig) -> bool:
    return type(json.loads(flatten(config).get(key, "0.0"))) is int


def _check(dimension: Dimension, config: KindConfig) -> None:
    """Every value, or both ends, must be one that the configuration takes."""
    ends = (
        dimension.values
        if isinstance(dimension, Choice)
        else (json.dumps(dimension.low), json.dumps(dimension.high))
    )
    for value in ends:
        override(config, [f"{dimension.key}={value}"])
