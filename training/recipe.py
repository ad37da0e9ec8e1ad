"""A recipe: the settings of a run, what it begins with and whom it learns from."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.contract import Manifest
from training.config import from_dict, override
from training.errors import ConfigError
from training.kinds.base import Kind
from training.publish import served_manifest

DEFAULT_PRESET = "standard"


@dataclass(frozen=True, slots=True)
class Recipe:
    """`start_from` is a run's folder, a published model or a version's folder, whose weights the
    fit begins with; `teachers` are published models or their folders; `version` is the served one
    whose recipe this is, or empty.
    """

    preset: str
    config: Any
    start_from: Path | None = None
    teachers: tuple[str, ...] = ()
    version: str = ""


def find_recipe(arguments: argparse.Namespace, kind: Kind[Any, Any], model: str) -> Recipe:
    """What the command line asks for: of a preset, or, where it names none, of the version that is
    served, so that a model is retrained as it was trained.

    A served version that began with other weights is begun with anew, and one that was taught
    teaches: what they were is gone, and what they gave is in it. Raises ConfigError for an unknown
    preset or setting.
    """
    settings = list(arguments.settings)
    if arguments.seed is not None:
        settings.append(f"fit.seed={arguments.seed}")
    served = None if arguments.preset else served_manifest(arguments.store, model)
    if served is None or served.kind != kind.name:
        return _of_preset(arguments, kind, settings)
    return _as_served(arguments, kind, served, settings)


def _of_preset(
    arguments: argparse.Namespace, kind: Kind[Any, Any], settings: Sequence[str]
) -> Recipe:
    name = arguments.preset or DEFAULT_PRESET
    if name not in kind.presets:
        raise ConfigError(
            f"{kind.name} has no preset {name!r}; it has {', '.join(kind.presets)}", field="preset"
        )
    return Recipe(
        preset=name,
        config=override(kind.presets[name], list(settings)),
        start_from=arguments.start_from,
        teachers=tuple(arguments.teachers or ()),
    )


def _as_served(
    arguments: argparse.Namespace,
    kind: Kind[Any, Any],
    served: Manifest,
    settings: Sequence[str],
) -> Recipe:
    fit = served.training
    try:
        config = from_dict(type(kind.presets[DEFAULT_PRESET]), fit.config)
    except ConfigError as error:
        raise ConfigError(
            f"the served {served.name} {served.version} has settings of another release "
            f"({error.message}): name a --preset",
            field="preset",
        ) from error
    config = override(config, list(settings))
    start_from = arguments.start_from
    if start_from is None and fit.started_from:
        start_from = Path(served.name)
    teachers = tuple(arguments.teachers or ())
    if not teachers and kind.is_taught(config):
        teachers = (served.name,)
    return Recipe(fit.preset, config, start_from, teachers, served.version)
