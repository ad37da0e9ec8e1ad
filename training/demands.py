"""What the gate is told to demand of a run's candidate, and what it stands beside."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from service.contract import Manifest
from training.comparison import CEILINGS
from training.errors import ConfigError
from training.gate import Rule
from training.kinds.base import Kind
from training.options import Options
from training.publish import served_manifest
from training.runs import RunRecord


def rules(kind: Kind[Any, Any], options: Options) -> list[Rule]:
    """The kind's rules as the options change them; raises ConfigError for a metric that no rule is
    about.
    """
    found = list(kind.rules)
    for option, name, values in (
        ("--floor", "floor", options.floors),
        ("--allow-worse", "allowed_loss", options.allowed_losses),
    ):
        unknown = set(values) - {rule.metric for rule in found}
        if unknown:
            raise ConfigError(
                f"{option}: {min(unknown)} is not judged; there is "
                f"{', '.join(rule.metric for rule in found)}",
                field=name,
            )
        found = [
            replace(rule, **{name: values.get(rule.metric, getattr(rule, name))}) for rule in found
        ]
    return found


def ceilings(options: Options) -> dict[str, float]:
    """What the candidate may cost, as multiples of the served version."""
    return {**CEILINGS, **options.ceilings}


def served_version(record: RunRecord, options: Options) -> Manifest | None:
    """The version of the model that is served now; raises ConfigError if it is another kind's."""
    served = served_manifest(options.store, record.model)
    if served is not None and served.kind != record.kind:
        raise ConfigError(
            f"{record.model} is published as a {served.kind}; publish a {record.kind} under "
            "another --model",
            field="model",
        )
    return served
