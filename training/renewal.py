"""A published version with its figures measured anew: the same graphs under a new card.

For when what was measured beside it has changed, not the model: another judge, another baseline, a
report that did not exist then. No run is needed, and versions never change, so it is a new one.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from service.contract import Gate, Manifest
from training import comparison, private
from training.candidate import command_line, version_name
from training.card import Figure, write_card
from training.errors import GateRefusedError
from training.gate import Rule, explain, judge
from training.publish import publish, seal
from training.reproduce import OF_THE_FIT, Measured, Say
from training.runs import CURVES_FILE, RunRecord


def renew(found: Measured, store: Path | str, out: Path, say: Say = print) -> Path:
    """Publish the version that was measured again, with today's figures; returns its folder.

    Graphs, golden outputs, the choice among precisions and the record of the fit stay. The figures
    must reach the floors that they were held to before. `out` has the plots.

    Raises GateRefusedError for figures below their floors, and as `publish`.
    """
    kept = {key: v for key, v in found.manifest.metrics.items() if key in OF_THE_FIT}
    metrics = dict(found.evaluation.metrics) | kept
    verdict = judge(metrics, demanded_before(found.manifest.gate))
    say(explain(verdict))
    if not verdict.passed:
        raise GateRefusedError(explain(verdict))
    now = datetime.now(UTC)
    graph = found.folder / found.manifest.graph
    if version_name(now, graph) == found.manifest.version:
        now += timedelta(seconds=1)  # the graph is the same, and a name tells no less than seconds
    manifest = msgspec.structs.replace(
        found.manifest,
        version=version_name(now, graph),
        created_at=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        metrics=metrics,
        gate=verdict,
        files={},
    )
    with TemporaryDirectory() as scratch:
        candidate = Path(scratch)
        _fill(candidate, found, manifest, out)
        folder = publish(candidate, store, manifest.name, instead_of=found.manifest.version)
    say(f"published {folder}")
    return folder


def demanded_before(gate: Gate) -> list[Rule]:
    """The floors of a verdict on figures; what it says of costs, and of the version served before,
    was about that version.
    """
    return [
        Rule(check.metric, check.goal, floor=check.floor)
        for check in gate.checks
        if check.metric not in comparison.CEILINGS
    ]


def _fill(candidate: Path, found: Measured, manifest: Manifest, plots: Path) -> None:
    """Graphs, golden outputs and curves as they were; plots, card and manifest anew."""
    evaluation, kind = found.evaluation, found.kind
    for variant in manifest.variants:
        for file in (variant.graph, variant.golden_file):
            shutil.copyfile(found.folder / file, candidate / file)
    shown = [figure for section in evaluation.sections for figure in section.figures]
    for figure in (*evaluation.figures, *shown):
        shutil.copyfile(plots / figure.file, candidate / figure.file)
    figures = evaluation.figures
    if (found.folder / CURVES_FILE).exists():
        shutil.copyfile(found.folder / CURVES_FILE, candidate / CURVES_FILE)
        figures = (*figures, Figure(CURVES_FILE, "The run, epoch by epoch"))
    training, data = manifest.training, manifest.data
    record = RunRecord(
        kind=manifest.kind,
        model=manifest.name,
        preset=training.preset,
        config=training.config,
        data=None if "://" in data.source else data.source,  # the kind's own needs no word
        created_at=manifest.created_at,
        new_data=data.parts[0].source if data.parts else None,
        started_from=training.started_from,
        taught_by=training.taught_by,
    )
    write_card(
        candidate,
        manifest,
        command=command_line(record, kind, found.config),
        intended_use=kind.about.intended_use,
        limits=kind.about.limits,
        figures=figures,
        samples=evaluation.samples,
        sections=evaluation.sections,
        metric_notes={**kind.about.metric_notes, **private.NOTES, **comparison.NOTES},
    )
    seal(candidate, manifest)
