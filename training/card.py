"""The model card: what a published version is, how good, and how it came about, for people.

After Mitchell et al., Model Cards for Model Reporting, 2019 (arXiv:1810.03993). Every figure in
it is taken from the manifest, none is typed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.contract import CARD_FILE, DataRecord, GateCheck, Manifest, TensorSpec, digest_file
from training.energy import describe_energy
from training.errors import PublishError
from training.markdown import bullets, document, fence, picture, table
from training.quantise.choice import explain_choice

MAX_FIGURES_BYTES = 2**20  # the plots of a card; a version's folder travels with every image


@dataclass(frozen=True)
class Figure:
    """A plot beside the card."""

    file: str
    """Name of a PNG in the version's folder."""
    caption: str


@dataclass(frozen=True)
class Sample:
    """Something that the model wrote, shown as it is."""

    title: str
    text: str


@dataclass(frozen=True)
class Section:
    """One report of the evaluation: what was found, with its plots."""

    title: str
    text: str
    """Markdown; every number in it comes from what was measured."""
    figures: tuple[Figure, ...] = ()


def write_card(
    folder: Path,
    manifest: Manifest,
    *,
    command: str,
    intended_use: str,
    limits: Sequence[str],
    figures: Sequence[Figure] = (),
    samples: Sequence[Sample] = (),
    sections: Sequence[Section] = (),
    metric_notes: Mapping[str, str] | None = None,
) -> Path:
    """Write `card.md` into the candidate's folder, whose graph and plots are there already.

    Args:
        folder: the candidate's folder.
        manifest: as it will be published, but for the hashes in `files`.
        command: the exact command line that makes this model again.
        intended_use: a sentence or two.
        limits: what the model cannot do, or must not be used for.
        figures: plots in `folder`, in the order in which they are shown.
        samples: texts that the model wrote.
        sections: the evaluation's reports; their plots lie in `folder` as well.
        metric_notes: what a metric of this name means, with its unit.

    Raises PublishError if a plot is missing, or the plots together are too large.

    """
    _check_figures(folder, [*figures, *(f for section in sections for f in section.figures)])
    notes = metric_notes or {}
    content = [
        _head(folder, manifest),
        ("Intended use", [intended_use]),
        ("Limits", [bullets(limits)]),
        ("Figures of merit", _metrics(manifest, notes)),
        ("Precisions", _variants(manifest)),
        ("Plots", show(figures)),
        *((section.title, [section.text, *show(section.figures)]) for section in sections),
        ("Samples", [f"{sample.title}:\n\n{fence(sample.text)}" for sample in samples]),
        ("Interface", _interface(manifest)),
        ("Data", [_data(manifest)]),
        ("Training", _training(manifest)),
        ("To make it again", [fence(command, "sh"), _same_result(manifest)]),
        ("Every figure", _parts(manifest, notes)),
    ]
    path = folder / CARD_FILE
    path.write_text(document(content), encoding="utf-8")
    return path


def show(figures: Sequence[Figure]) -> list[str]:
    """Plots as blocks of Markdown."""
    return [picture(figure.file, figure.caption) for figure in figures]


def _check_figures(folder: Path, figures: Sequence[Figure]) -> None:
    missing = [figure.file for figure in figures if not (folder / figure.file).is_file()]
    if missing:
        raise PublishError(f"{folder} lacks the card's plots: {', '.join(missing)}")
    total = sum((folder / figure.file).stat().st_size for figure in figures)
    if total > MAX_FIGURES_BYTES:
        raise PublishError(
            f"the card's plots have {total:,} bytes; at most {MAX_FIGURES_BYTES:,} are published: "
            "draw fewer or smaller ones"
        )


def _head(folder: Path, manifest: Manifest) -> tuple[str, list[str]]:
    graph = digest_file(folder / manifest.graph)
    rows = [
        ("Kind", manifest.kind),
        ("Version", manifest.version),
        ("Made", manifest.created_at),
        ("Parameters", f"{manifest.training.parameters:,}"),
        ("Graph", f"`{manifest.graph}`, {graph.bytes / 2**20:.2f} MiB, sha256 `{graph.sha256}`"),
        ("Code revision", f"`{manifest.code_revision}`"),
    ]
    return manifest.name, [manifest.description, table(("", ""), rows)]


def _metrics(manifest: Manifest, notes: Mapping[str, str]) -> list[str]:
    checks = {check.metric: check for check in manifest.gate.checks}
    measured = {check.metric: check.value for check in manifest.gate.checks} | manifest.metrics
    whole = (name for name in manifest.metrics if name not in checks and "." not in name)
    order = [*checks, *whole]
    rows = [
        (
            f"`{name}`",
            f"{measured[name]:.4g}" if math.isfinite(measured[name]) else "not measured",
            _demand(checks[name]) if name in checks else "",
            notes.get(name, ""),
        )
        for name in order
    ]
    verdict = "passed" if manifest.gate.passed else "refused"
    return [
        table(("Metric", "Value", "Demanded by the gate", "Meaning"), rows),
        f"The gate **{verdict}** this version.",
    ]


def _variants(manifest: Manifest) -> list[str]:
    """Each graph's figures, and why one of them is served."""
    if manifest.choice is None:
        return []
    judged = [c.metric for c in manifest.gate.checks if c.metric in manifest.served.metrics]
    rows = [
        (
            f"**{variant.precision}**" if variant == manifest.served else variant.precision,
            f"`{variant.graph}`",
            *(f"{variant.metrics[metric]:.4g}" for metric in judged),
            f"{variant.rows_per_s:,.0f}",
        )
        for variant in manifest.variants
    ]
    figures = [f"`{metric}`" for metric in judged]
    return [
        table(("Precision", "Graph", *figures, "Rows a second, one thread"), rows),
        f"{explain_choice(manifest.choice)}. Every other figure of this card is of the served one.",
    ]


def _parts(manifest: Manifest, notes: Mapping[str, str]) -> list[str]:
    """Figures of classes, groups and strengths: `<figure>.<which>`."""
    rows = [
        (f"`{name}`", f"{value:.4g}", notes.get(name.partition(".")[0], ""))
        for name, value in manifest.metrics.items()
        if "." in name
    ]
    return [table(("Metric", "Value", "Meaning"), rows)] if rows else []


def _demand(check: GateCheck) -> str:
    demands = []
    if check.floor is not None:
        demands.append(f"{'≥' if check.goal == 'max' else '≤'} {check.floor:.4g}")
    if check.p_value is not None:
        allowed = f", or by at most {check.tolerance:.4g}" if check.tolerance else ""
        demands.append(
            f"not surely worse than the {check.served:.4g} served before{allowed} ({check.test}, "
            f"{check.examples:,} examples, p = {check.p_value:.2g})"
        )
    elif check.served is not None:
        demands.append(
            f"at most {check.tolerance:.4g} worse than the {check.served:.4g} served before"
            + (f" ({check.note})" if check.note else "")
        )
    return " and ".join(demands) + (" (met)" if check.passed else " (**missed**)")


def _interface(manifest: Manifest) -> list[str]:
    def rows(role: str, specs: Sequence[TensorSpec]) -> Iterator[tuple[str, ...]]:
        for spec in specs:
            low, high = spec.minimum, spec.maximum
            span = "" if low is None and high is None else f"{_bound(low)} to {_bound(high)}"
            shape = ", ".join(map(str, spec.shape))
            yield role, f"`{spec.name}`", spec.dtype, f"[{shape}]", span, spec.description

    body = [
        table(
            ("", "Tensor", "Type", "Shape", "Range", ""),
            [*rows("input", manifest.inputs), *rows("output", manifest.outputs)],
        )
    ]
    if manifest.labels:
        names = ", ".join(f"{index} {label}" for index, label in enumerate(manifest.labels))
        body.append(f"Classes: {names}.")
    if manifest.vocabulary:
        body.append(
            f"Vocabulary of {len(manifest.vocabulary)} characters, in index order:\n\n"
            + fence(ascii(manifest.vocabulary))
        )
    return body


def _bound(value: float | None) -> str:
    return "any" if value is None else f"{value:.6g}"


def _data(manifest: Manifest) -> str:
    data = manifest.data
    rows = [
        ("Name", data.name),
        ("Source", data.source),
        ("Checksum", f"sha256 `{data.sha256}`"),
        ("Licence", data.license or "not stated: brought by whoever trained this model"),
        *((f"Examples, {split}", f"{count:,}") for split, count in data.examples.items()),
        *(
            (f"Joined: {part.source}", f"{_counts(part)}; sha256 `{part.sha256}`")
            for part in data.parts
        ),
    ]
    return table(("", ""), rows)


def _counts(part: DataRecord) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in part.examples.items())


def _training(manifest: Manifest) -> list[str]:
    training = manifest.training
    minutes, seconds = divmod(round(training.duration_s), 60)
    energy = describe_energy(training)
    facts = [
        ("Preset", training.preset),
        *([("Started from", training.started_from)] if training.started_from else []),
        *([("Taught by", training.taught_by)] if training.taught_by else []),
        ("Seed", str(training.seed)),
        ("Hardware", training.hardware),
        ("Training time", f"{minutes} min {seconds} s"),
        *([("Energy, estimated", energy)] if energy else []),
        ("Configuration", f"sha256 `{training.config_sha256}`"),
        ("Libraries", ", ".join(f"{name} {v}" for name, v in manifest.libraries.items())),
    ]
    settings = [(f"`{key}`", f"`{value}`") for key, value in _flatten(training.config)]
    return [table(("", ""), facts), table(("Setting", "Value"), settings)]


def _same_result(manifest: Manifest) -> str:
    return (
        "On the same CPU and library versions, with one thread and the same data "
        f"(sha256 `{manifest.data.sha256[:16]}…`) the weights come out the same bit for bit; "
        "elsewhere they differ by rounding, and the figures by chance."
    )


def _flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
