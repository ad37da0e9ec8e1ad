"""The candidate's files as its steps left them: what later steps may build on."""

from __future__ import annotations

from pathlib import Path

from service.contract import GRAPH_FILE, digest_file
from training.errors import ExportError, FitError
from training.quantise.variants import Variants
from training.results import EvaluationResult, VerificationResult
from training.runs import Run


def verified_graph(run: Run) -> Path:
    """The float32 graph; raises ExportError unless it is the one that was proved."""
    graph = run.candidate / GRAPH_FILE
    verified = run.read("verification", VerificationResult, "verify")
    if not graph.exists() or digest_file(graph).sha256 != verified.graph_sha256:
        raise ExportError(f"{graph} was not verified; run `verify` again")
    return graph


def verified_variants(run: Run) -> Variants:
    """The graphs of the candidate that was verified."""
    verified_graph(run)
    return run.read("variants", Variants, "quantise")


def evaluation_of(run: Run, graph: Path) -> EvaluationResult:
    """What was measured on `graph`; raises FitError if that was another file."""
    evaluation = run.read("evaluation", EvaluationResult, "evaluate")
    if digest_file(graph).sha256 != evaluation.graph_sha256:
        raise FitError(f"{graph} was not evaluated; run `evaluate` again")
    return evaluation


def served_graph(run: Run) -> Path:
    """The candidate's graph that is to be served, as the last comparison of its variants has it;
    the float32 one before there was any.
    """
    try:
        return run.candidate / run.read("variants", Variants, "quantise").served.graph
    except FitError:
        return run.candidate / GRAPH_FILE
