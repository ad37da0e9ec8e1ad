"""The steps of a run in their order, and which of them are done.

A step is done if its result is there, of the current weights, of what the step would read now, and
with all the files that it made. So a crash between two writes costs the step that was under way and
no other, and a step done anew by hand undoes those after it only where it changed what they read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from service.contract import GRAPH_FILE, MANIFEST_FILE, Gate, decode_manifest, digest_file
from service.errors import ContractError
from service.store import Store
from training.demands import ceilings, rules
from training.partners import baseline_folder
from training.proved import served_graph
from training.publish import served_manifest
from training.quantise.variants import Variants
from training.results import EvaluationResult, ExportResult, FitResult, VerificationResult

if TYPE_CHECKING:
    from training.pipeline import Pipeline

STEPS = ("fit", "export", "verify", "quantise", "evaluate", "gate", "publish")


@dataclass(frozen=True)
class _Result:
    name: str
    type_: type[Any]


RESULTS: Mapping[str, _Result] = {
    "fit": _Result("fit", FitResult),
    "export": _Result("export", ExportResult),
    "verify": _Result("verification", VerificationResult),
    "quantise": _Result("variants", Variants),
    "evaluate": _Result("evaluation", EvaluationResult),
    "gate": _Result("gate", Gate),
}


def reads(step: str, pipeline: Pipeline) -> dict[str, str]:
    """What decides the step's result besides weights and data: names to hashes or words."""
    run, options = pipeline.run, pipeline.options
    graph = run.candidate / GRAPH_FILE
    if step == "fit":
        taught = {"teacher": " ".join(map(_digest, run.teachers))} if run.teachers else {}
        return {"start": _digest(run.start), **taught}
    if step == "export":
        return {"start_share": str(pipeline.config.fit.start_share)}
    if step == "verify":
        return {"graph": _digest(graph)}
    if step == "quantise":
        return {"graph": _digest(graph), "precision": options.precision}
    if step == "evaluate":
        beside = baseline_folder(options.store, pipeline.kind, run.record.model, options.baseline)
        return {
            "graph": _digest(served_graph(run)),
            "partner": _version(pipeline.partner()),
            "baseline": _version(beside),
        }
    assert step == "gate", step
    served = served_manifest(options.store, run.record.model)
    return {
        "evaluation": _digest(run.folder / "evaluation.json"),
        "partner": _version(pipeline.partner()),
        "served": "" if served is None else served.version,
        "demands": repr((rules(pipeline.kind, options), sorted(ceilings(options).items()))),
    }


def is_done(step: str, pipeline: Pipeline) -> bool:
    """Whether the step has nothing left to do."""
    run = pipeline.run
    if step == "publish":
        return _is_published(pipeline)
    result = RESULTS[step]
    if not run.is_done(result.name, result.type_, reads(step, pipeline)):
        return False
    return step != "gate" or run.read("gate", Gate, "gate").passed


def _is_published(pipeline: Pipeline) -> bool:
    """Whether the candidate, as it lies there, is of these weights and is what is served."""
    if not is_done("export", pipeline):
        return False
    path = pipeline.run.candidate / MANIFEST_FILE
    try:
        manifest = decode_manifest(path.read_bytes(), where=str(path))
    except (OSError, ContractError):
        return False
    store, name = Store(pipeline.options.store), pipeline.run.record.model
    try:
        version = manifest.version if pipeline.options.trial is not None else store.current(name)
        there = store.manifest(name, version)
    except ContractError:
        return False
    return msgspec.json.encode(there) == msgspec.json.encode(manifest)


def _digest(path: Path) -> str:
    return digest_file(path).sha256 if path.exists() else ""


def _version(folder: Path | None) -> str:
    """A published version by the hash of its manifest, which has those of all its files."""
    return "" if folder is None else _digest(folder / MANIFEST_FILE)
