"""The steps of a run, each from the run's folder to the run's folder:

    fit -> export -> verify -> quantise -> evaluate -> gate -> publish

`run_all` does them in this order; each can be done alone, and refuses results of other weights.
What is evaluated is the file that will be served.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from service.contract import (
    GOLDEN_FILE,
    GRAPH_FILE,
    INT8_GOLDEN_FILE,
    INT8_GRAPH_FILE,
    Gate,
    WantedPrecision,
    digest_file,
)
from training import checkpoint
from training.candidate import complete
from training.config import KindConfig, from_dict
from training.distributed import Ranks
from training.energy import Stopwatch, cpu_seconds
from training.errors import ConfigError, ExportError, FitError, GateRefusedError
from training.export import export_graph
from training.gate import explain, judge
from training.journal import read_metrics
from training.kinds import kinds
from training.kinds.base import Export, Kind
from training.loop import fit
from training.partners import partner_folder, set_beside
from training.plots.curves import plot_curves
from training.precision import describe_hardware
from training.private import PrivateTask, guard
from training.provenance import code_revision, library_versions
from training.publish import publish, served_manifest
from training.quantise.choice import explain_choice
from training.quantise.variants import Variants, compare_variants, float32_alone
from training.report import write_report
from training.results import EvaluationResult, FitResult, VerificationResult
from training.runs import CURVES_FILE, Run
from training.seeds import derive
from training.tasks.base import Task
from training.verify import Verification, verify_graph, write_golden

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What the steps are told besides the run: where things are, and how the gate is set."""

    store: Path = Path("models")
    cache_dir: Path = Path("~/.cache/triptych")
    device: torch.device = torch.device("cpu")
    ranks: Ranks | None = None
    """The processes that fit together; None is this one alone."""
    judge: str | None = None
    """A model of the store, or the folder of a version, that takes part in the evaluation; None is
    the kind's usual partner."""
    baseline: str | None = None
    """As `judge`: the model whose figures stand beside; None is the kind's own, where published."""
    precision: WantedPrecision = "auto"
    """Of the graph to serve: the gate's choice, or one of them."""
    floors: Mapping[str, float] | None = None
    """Metrics whose floor differs from the kind's own."""


class Pipeline:
    """The steps, bound to a run. `say` receives lines for the user."""

    def __init__(self, run: Run, options: Options, say: Say = print) -> None:
        self.run, self.options, self.say = run, options, say
        record = run.record
        if record.kind not in kinds():
            raise ConfigError(f"kind {record.kind!r} is not among {sorted(kinds())}", field="kind")
        self.kind: Kind[Any, Any] = kinds()[record.kind]
        preset = next(iter(self.kind.presets.values()))
        self.config: KindConfig = from_dict(type(preset), record.config)

    @cached_property
    def data(self) -> Any:
        """The run's data, read once."""
        data = self.kind.load_data(self.run.record.data, self.options.cache_dir.expanduser())
        return data if self.run.addition is None else self.kind.join(data, self.run.addition)[0]

    @cached_property
    def export_plan(self) -> Export:
        """The fitted network as it will be served."""
        return self.kind.export(self.config, self.data, self._network())

    def run_all(self) -> Path:
        """Every step; returns the published version's folder."""
        self.fit()
        return self.finish()

    def finish(self) -> Path:
        """Every step after the fit; returns the published version's folder."""
        self.export()
        self.verify()
        self.quantise()
        self.evaluate()
        self.gate()
        return self.publish()

    def fit(self) -> None:
        """Train, or go on training; writes the weights to serve, curves and `fit.json`."""
        device, ranks = self.options.device, self.options.ranks or Ranks(self.options.device)
        task = self.kind.task(self.config, self.data, device)
        if self.run.start.exists():
            _load(task, self.run.start)
        task = guard(task, self.config)
        if ranks.is_main and (partner := self._partner()) is not None:
            self.kind.attend(task, self.config, self.data, partner)
        watch = Stopwatch()
        progress = fit(task, self.config, self.run.folder, device, ranks=ranks)
        if not ranks.is_main:
            return
        served, hardware = task.modules[task.served], describe_hardware(device, ranks.size)
        self._draw_curves()
        self.run.write(
            "fit",
            FitResult(
                epochs=progress.step // task.steps_per_epoch,
                best_epoch=progress.best_epoch,
                stopped_early=progress.stopped,
                duration_s=round(progress.elapsed_s, 1),
                cpu_s=cpu_seconds(
                    progress.elapsed_s, hardware, watch.busy_cores(), processes=ranks.size
                ),
                hardware=hardware,
                parameters=sum(weight.numel() for weight in served.parameters()),
                data=self.kind.record(self.data),
                code_revision=code_revision(),
                libraries=library_versions(),
                privacy=task.spent(progress.step) if isinstance(task, PrivateTask) else None,
            ),
        )
        self.say(f"fit: {progress.elapsed_s:.0f} s, weights of epoch {progress.best_epoch}")

    def check_start(self, weights: Path) -> None:
        """Raise ConfigError unless a fit can begin with the weights of this file."""
        _load(self.kind.task(self.config, self.data, torch.device("cpu")), weights)

    def export(self) -> Path:
        """Write `candidate/model.onnx` anew."""
        if self.run.candidate.exists():
            shutil.rmtree(self.run.candidate)
        graph = self.run.candidate / GRAPH_FILE
        export_graph(self.export_plan, graph)
        self.say(f"export: {graph}, {graph.stat().st_size / 2**20:.2f} MiB")
        return graph

    def verify(self) -> Verification:
        """Prove the graph and write `golden.npz` beside it."""
        graph = self.run.candidate / GRAPH_FILE
        if not graph.exists():
            raise ExportError(f"{graph} is not there; run `export` first")
        seed = derive(self.config.fit.seed, "verify")
        proof = verify_graph(self.export_plan, graph, seed)
        write_golden(self.export_plan, graph, self.run.candidate / GOLDEN_FILE, seed)
        result = VerificationResult(graph_sha256=digest_file(graph).sha256, proof=proof)
        self.run.write("verification", result)
        for name, error in proof.max_abs_error.items():
            self.say(f"  {name}: within {error:.3g} of torch ({proof.tolerance[name]:g} allowed)")
        self.say(f"verify: rows are bit-identical in batches of {proof.batch_sizes}")
        return proof

    def quantise(self) -> Variants:
        """Write `candidate/model.int8.onnx` where the kind has such a form, measure both graphs,
        and choose the one to serve; writes `variants.json`.
        """
        graph, folder, wanted = self._verified_graph(), self.run.candidate, self.options.precision
        (folder / INT8_GRAPH_FILE).unlink(missing_ok=True)
        (folder / INT8_GOLDEN_FILE).unlink(missing_ok=True)
        demand = self.kind.int8 if wanted != "float32" else None
        if demand is not None and self.kind.quantise(
            self.config, self.data, graph, folder / INT8_GRAPH_FILE
        ):
            found = compare_variants(
                self.export_plan,
                folder,
                demand,
                score=lambda path: self.kind.score(self.config, self.data, path, self._partner()),
                seed=derive(self.config.fit.seed, "verify"),
                wanted=wanted,
            )
            assert found.choice is not None
            self.say(f"quantise: {explain_choice(found.choice)}")
        elif wanted == "int8":
            raise ConfigError("this network has no int8 form; leave --precision out")
        else:
            found = float32_alone(self.export_plan, folder)
        self.run.write("variants", found)
        return found

    def evaluate(self) -> EvaluationResult:
        """Measure the graph that will be served; writes plots and `evaluation.json`."""
        fitted = self.run.read("fit", FitResult, "fit")
        found = self.kind.record(self.data)
        if found.sha256 != fitted.data.sha256:
            raise FitError(
                f"the data have changed since the fit: sha256 {found.sha256[:16]}..., "
                f"was {fitted.data.sha256[:16]}...; fit again"
            )
        graph = self._variants().check(self.run.candidate)
        self.run.plots.mkdir(exist_ok=True)
        evaluation = set_beside(
            self.kind.evaluate(self.config, self.data, graph, self.run.plots, self._partner()),
            self.kind,
            self.config,
            self.data,
            store=self.options.store,
            model=self.run.record.model,
            judge=self._partner(),
            named=self.options.baseline,
        )
        result = EvaluationResult(
            graph_sha256=digest_file(graph).sha256,
            metrics=evaluation.metrics,
            figures=evaluation.figures,
            samples=evaluation.samples,
            sections=evaluation.sections,
        )
        self.run.write("evaluation", result)
        title = f"{self.run.record.model}: report of a run"
        write_report(self.run.plots, title, evaluation, self.kind.about.metric_notes)
        self.say("\n".join(f"  {key} = {value:.4g}" for key, value in result.metrics.items()))
        return result

    def gate(self) -> Gate:
        """Judge the evaluation; raises GateRefusedError if a figure is not good enough."""
        metrics = self._evaluation(self._variants().check(self.run.candidate)).metrics
        served = served_manifest(self.options.store, self.run.record.model)
        if served is not None and served.kind != self.run.record.kind:
            raise ConfigError(
                f"{self.run.record.model} is published as a {served.kind}; publish a "
                f"{self.run.record.kind} under another --model",
                field="model",
            )
        floors = dict(self.options.floors or {})
        rules = [replace(r, floor=floors.pop(r.metric, r.floor)) for r in self.kind.rules]
        if floors:
            raise ConfigError(
                f"--floor: {min(floors)} is not judged; there is "
                f"{', '.join(rule.metric for rule in rules)}",
                field="floor",
            )
        verdict = judge(metrics, rules, served.metrics if served else None)
        self.run.write("gate", verdict)
        if not verdict.passed:
            raise GateRefusedError(explain(verdict))
        self.say(explain(verdict))
        return verdict

    def publish(self) -> Path:
        """Write card and manifest, and make the candidate the served version."""
        graph = self._variants().check(self.run.candidate)
        complete(
            self.run,
            self.kind,
            self.config,
            self.export_plan,
            graph=graph,
            variants=self._variants(),
            evaluation=self._evaluation(graph),
        )
        folder = publish(self.run.candidate, self.options.store, self.run.record.model)
        self.say(f"published {folder}")
        return folder

    def _verified_graph(self) -> Path:
        """The float32 graph; raises ExportError unless it is the one that was proved."""
        graph = self.run.candidate / GRAPH_FILE
        verified = self.run.read("verification", VerificationResult, "verify")
        if not graph.exists() or digest_file(graph).sha256 != verified.graph_sha256:
            raise ExportError(f"{graph} was not verified; run `verify` again")
        return graph

    def _variants(self) -> Variants:
        """The graphs of the candidate that was verified."""
        self._verified_graph()
        return self.run.read("variants", Variants, "quantise")

    def _evaluation(self, graph: Path) -> EvaluationResult:
        """What was measured on `graph`; raises FitError if that was another file."""
        evaluation = self.run.read("evaluation", EvaluationResult, "evaluate")
        if digest_file(graph).sha256 != evaluation.graph_sha256:
            raise FitError(f"{graph} was not evaluated; run `evaluate` again")
        return evaluation

    def _network(self) -> nn.Module:
        """The served network with its best weights, on the CPU, in evaluation mode."""
        self.run.weights_sha256()
        task = guard(self.kind.task(self.config, self.data, torch.device("cpu")), self.config)
        network: nn.Module = task.modules[task.served]
        weights, share = checkpoint.load(self.run.best)["weights"], self.config.fit.start_share
        if share:
            start = checkpoint.load(self.run.start)["weights"]
            weights = {
                name: torch.lerp(value, start[name], share) if value.is_floating_point() else value
                for name, value in weights.items()
            }
        network.load_state_dict(weights)
        return network.eval()

    def _partner(self) -> Path | None:
        return partner_folder(self.options.store, self.kind, self.options.judge)

    def _draw_curves(self) -> None:
        records = read_metrics(self.run.folder)
        path = self.run.folder / CURVES_FILE
        plot_curves(records, self.kind.panels, path, step="epoch", step_label="Epoch")


def _load(task: Task, weights: Path) -> None:
    """Give the task's served network these weights."""
    try:
        task.modules[task.served].load_state_dict(checkpoint.load(weights)["weights"])
    except RuntimeError as error:
        raise ConfigError(
            f"{weights} holds another network's weights; give its preset and --set as well",
            field="start_from",
        ) from error
