"""Published figures, measured again from the published files: is the card true?

Nothing but a version's folder and the data is read: no checkpoint, no run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from service.contract import Manifest
from training.config import KindConfig, from_dict
from training.errors import ConfigError, PublishError, ReproductionError
from training.kinds import kinds
from training.kinds.base import Evaluation, Kind
from training.partners import partner_folder, set_beside
from training.publish import verified_manifest, version_folder
from training.report import write_report

ABSOLUTE, RELATIVE = 0.002, 0.005
"""What another processor's rounding is granted where the kind says nothing else: of 5,000 test
images, ten may fall on the other side."""
OF_THE_FIT = ("epsilon", "delta")
"""Metrics that no graph can tell: the fit's own record."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Comparison:
    """One figure, as published and as measured now."""

    metric: str
    published: float | None
    measured: float | None
    tolerance: float

    @property
    def same(self) -> bool:
        """Whether it was reproduced; a figure of newer code that was not published is no error."""
        if self.published is None:
            return True
        if self.measured is None:
            return self.metric in OF_THE_FIT
        if math.isnan(self.published):
            return math.isnan(self.measured)
        return abs(self.published - self.measured) <= self.tolerance


def compare(
    published: Mapping[str, float], measured: Mapping[str, float], within: Mapping[str, float]
) -> list[Comparison]:
    """Every figure of either side; `within` maps patterns of metrics to absolute tolerances, the
    first that matches counts.
    """
    return [
        Comparison(
            metric,
            published.get(metric),
            measured.get(metric),
            _tolerance(metric, published.get(metric, 0.0), within),
        )
        for metric in (*published, *(name for name in measured if name not in published))
    ]


@dataclass(frozen=True)
class Measured:
    """A published version, measured again."""

    folder: Path
    manifest: Manifest
    kind: Kind[Any, Any]
    config: KindConfig
    data: Any
    partner: Path | None
    """The version folder of the model that took part."""
    evaluation: Evaluation


def measure(
    store: Path | str,
    name: str,
    *,
    data: Sequence[Path],
    cache_dir: Path,
    judge: str | None,
    baseline: str | None = None,
    out: Path,
    say: Say = print,
) -> Measured:
    """Measure the served version of `name` on its data, which are told by their checksum; plots go
    to `out`.

    Raises ConfigError if there is no such model, PublishError if its files are not what was
    published, DataError if its data are not among `data` nor at their official address.
    """
    folder = version_folder(store, name)
    if folder is None:
        raise ConfigError(f"{store} holds no model {name!r}", field="model")
    manifest = verified_manifest(folder)
    if manifest.kind not in kinds():
        raise PublishError(f"{folder}: kind {manifest.kind!r} is not known to this release")
    kind = kinds()[manifest.kind]
    config = from_dict(type(next(iter(kind.presets.values()))), manifest.training.config)
    loaded = kind.load_recorded(manifest.data, data, cache_dir)
    found = kind.record(loaded)
    partner = partner_folder(store, kind, judge)
    beside = f", beside {partner}" if partner else ""
    say(f"{name}: {folder / manifest.graph} on {found.source}{beside}")
    out.mkdir(parents=True, exist_ok=True)
    evaluation = set_beside(
        kind.evaluate(config, loaded, folder / manifest.graph, out, partner),
        kind,
        config,
        loaded,
        store=store,
        model=name,
        judge=partner,
        named=baseline,
    )
    return Measured(folder, manifest, kind, config, loaded, partner, evaluation)


def reproduce(found: Measured, out: Path, say: Say = print) -> list[Comparison]:
    """Compare what was measured with what was published; `report.md` goes to `out`.

    Of the version's graphs that are not served, the gate's figures are compared, as
    `<metric>@<precision>`.
    """
    manifest, kind, evaluation = found.manifest, found.kind, found.evaluation
    name = manifest.name
    published, measured = dict(manifest.metrics), dict(evaluation.metrics)
    if not any(map(_is_of_baseline, measured)) and any(map(_is_of_baseline, published)):
        say(f"{name}: its baseline is not published here, and not compared; --baseline names it")
        published = {key: v for key, v in published.items() if not _is_of_baseline(key)}
    for variant in manifest.variants:
        if variant.graph != manifest.graph:
            graph = found.folder / variant.graph
            scores = kind.score(found.config, found.data, graph, found.partner)
            published |= {f"{key}@{variant.precision}": v for key, v in variant.metrics.items()}
            measured |= {f"{key}@{variant.precision}": v for key, v in scores.items()}
    page = write_report(out, f"{name} {manifest.version}", evaluation, kind.about.metric_notes)
    compared = compare(published, measured, kind.reproduced_within)
    say(format_comparisons(compared))
    say(f"report: {page}\n")
    return compared


def _is_of_baseline(metric: str) -> bool:
    return metric.startswith("baseline_")


def check(found: Mapping[str, Sequence[Comparison]]) -> None:
    """Raise ReproductionError, naming them, if figures of a model are not the published ones."""
    wrong = [
        f"{name}: {one.metric} is {_number(one.measured)}, published is {_number(one.published)}"
        for name, compared in found.items()
        for one in compared
        if not one.same
    ]
    if wrong:
        raise ReproductionError("not reproduced:\n  " + "\n  ".join(wrong))


def format_comparisons(compared: Iterable[Comparison]) -> str:
    """A table for people."""
    rows = [("metric", "in the manifest", "measured now", "tolerance", "same")]
    rows += [
        (
            one.metric,
            _number(one.published),
            _number(one.measured),
            f"{one.tolerance:.2g}",
            ("yes" if one.measured is not None else "of the fit") if one.same else "NO",
        )
        for one in compared
    ]
    width = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  "
        + row[0].ljust(width[0])
        + "".join(f"  {cell.rjust(size)}" for cell, size in zip(row[1:], width[1:], strict=True))
        for row in rows
    )


def _tolerance(metric: str, published: float, within: Mapping[str, float]) -> float:
    for pattern, tolerance in within.items():
        if fnmatchcase(metric, pattern):
            return tolerance
    return ABSOLUTE + RELATIVE * abs(published)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"
