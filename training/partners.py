"""Published models that take part in another's making: its teacher, its judge, and a baseline that
stands beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from service.contract import MANIFEST_FILE, Manifest
from training.errors import ConfigError
from training.kinds.base import Evaluation, Kind
from training.publish import verified_manifest, version_folder


def partner_folder(store: Path | str, kind: Kind[Any, Any], named: str | None) -> Path | None:
    """The version folder of the kind's partner, or of the one that is named instead; None if it is
    not published yet.
    """
    name = named or kind.partner
    return version_folder(store, name) if name else None


def baseline_folder(
    store: Path | str, kind: Kind[Any, Any], model: str, named: str | None
) -> Path | None:
    """The version folder of what stands beside `model`: what is named, or the kind's own baseline
    unless `model` is that itself; None if it is not published.
    """
    name = named or ("" if kind.baseline == model else kind.baseline)
    return version_folder(store, name) if name else None


def is_published(store: Path | str, named: str) -> bool:
    """Whether `named` is a model of the store, or a version's folder."""
    folder = version_folder(store, named)
    return folder is not None and (folder / MANIFEST_FILE).exists()


def published(store: Path | str, named: str, field: str) -> tuple[Path, Manifest]:
    """The folder and the manifest of `named`, a model of the store or a version's folder. Raises
    ConfigError, of the setting `field`, if there is none, PublishError if its files are not those
    published.
    """
    folder = version_folder(store, named)
    if folder is None:
        raise ConfigError(f"{named} is neither a published model nor a folder", field=field)
    return folder, verified_manifest(folder)


def set_beside(
    evaluation: Evaluation,
    kind: Kind[Any, Any],
    config: Any,
    data: Any,
    *,
    store: Path | str,
    model: str,
    judge: Path | None,
    named: str | None,
) -> Evaluation:
    """The evaluation of `model` with the figures of a baseline beside it, where there is one.

    The kind's own baseline is passed over where it is not published or cannot be compared. Raises
    ConfigError if the baseline that is named cannot be.
    """
    folder = baseline_folder(store, kind, model, named)
    found = kind.compare(config, data, folder, judge) if folder is not None else None
    if found is not None:
        return Evaluation.join((evaluation, found))
    if named is not None:
        raise ConfigError(
            f"{named} is no published {kind.name} that {model} can be compared with",
            field="baseline",
        )
    return evaluation
