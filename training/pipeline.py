"""The steps of a run, each from the run's folder to the run's folder:

    fit -> export -> verify -> quantise -> evaluate -> gate -> publish

`run_all` does those that are not done, in this order; each can be done alone, whatever was done
before, and refuses results of other weights.
What is evaluated is the file that will be served.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from service.contract import (
    GOLDEN_FILE,
    GRAPH_FILE,
    INT8_GOLDEN_FILE,
    INT8_GRAPH_FILE,
    Gate,
    digest_file,
)
from training.candidate import complete
from training.comparison import measure_beside
from training.config import KindConfig, from_dict
from training.demands import ceilings, rules, served_version
from training.distributed import Ranks
from training.energy import Stopwatch, cpu_seconds
from training.errors import ConfigError, ExportError, FitError, GateRefusedError
from training.export import export_graph
from training.gate import explain, judge
from training.journal import read_metrics
from training.kinds import kinds
from training.kinds.base import Export, Kind
from training.loop import fit
from training.options import Options
from training.partners import partner_folder, set_beside
from training.plots.curves import plot_curves
from training.precision import describe_hardware
from training.private import PrivateTask, guard
from training.proved import evaluation_of, verified_graph, verified_variants
from training.provenance import code_revision, library_versions
from training.publish import begin_trial, publish, version_folder
from training.quantise.choice import explain_choice
from training.quantise.variants import Variants, compare_variants, float32_alone
from training.report import write_report
from training.results import EvaluationResult, ExportResult, FitResult, VerificationResult
from training.runs import CURVES_FILE, Run
from training.seeds import derive
from training.steps import STEPS, is_done, reads
from training.verify import Verification, verify_graph, write_golden
from training.weights import begin_with, fitted_network

Say = Callable[[str], None]


class Pipeline:
    """The steps, bound to a run. `say` receives lines for the user."""

    def __init__(self, run: Run, options: Options, say: Say = print) -> None:
        self.run, self.options, self.say = run, options, say
        record = run.record
        if record.kind not in kinds():
            raise ConfigError(f"kind {record.kind!r} is not among {sorted(kinds())}", field="kind")
        self.kind: Kind[Any, Any] = kinds()[record.kind]
        self.step = ""
        """The step that was begun last, for whoever has to say where a run ended."""
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
        return self.kind.export(
            self.config, self.data, fitted_network(self.run, self.kind, self.config, self.data)
        )

    def run_all(self) -> Path:
        """Every step that is not done; returns the served version's folder."""
        self.advance()
        return self.finish()

    def advance(self) -> None:
        """The fit, unless it is done: of all ranks, which meet here."""
        ranks = self.options.ranks or Ranks(self.options.device)
        self.step = "fit"
        if not ranks.share(partial(is_done, "fit", self)):
            self.fit()
        elif ranks.is_main:
            self.say("fit: done already")

    def finish(self) -> Path:
        """Every step after the fit that is not done; returns the served version's folder."""
        # First of all: once it is published, the gate would compare it with itself.
        published = is_done("publish", self)
        for step in STEPS[1:]:
            self.step = step
            if published or is_done(step, self):
                self.say(f"{step}: done already")
            else:
                getattr(self, step)()
        folder = version_folder(self.options.store, self.run.record.model)
        assert folder is not None, "it was published"
        return folder

    def fit(self) -> None:
        """Train, or go on training; writes the weights to serve, curves and `fit.json`."""
        device, ranks = self.options.device, self.options.ranks or Ranks(self.options.device)
        task = self.kind.task(self.config, self.data, device)
        if self.run.start.exists():
            begin_with(task, self.run.start)
        if self.run.teachers:
            task.follow(self.run.teachers)
        task = guard(task, self.config)
        if ranks.is_main and (partner := self.partner()) is not None:
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
            reads=reads("fit", self),
            made=[self.run.folder / CURVES_FILE],
        )
        self.say(f"fit: {progress.elapsed_s:.0f} s, weights of epoch {progress.best_epoch}")

    def check_data(self, sha256: str) -> None:
        """Raise FitError if the data are no longer those of this hash."""
        found = self.kind.record(self.data)
        if found.sha256 != sha256:
            raise FitError(
                f"the data have changed since the fit: sha256 {found.sha256[:16]}..., "
                f"was {sha256[:16]}...; fit again, in a new run"
            )

    def export(self) -> Path:
        """Write `candidate/model.onnx` anew."""
        if self.run.candidate.exists():
            shutil.rmtree(self.run.candidate)
        graph = self.run.candidate / GRAPH_FILE
        export_graph(self.export_plan, graph)
        result = ExportResult(graph_sha256=digest_file(graph).sha256)
        self.run.write("export", result, reads=reads("export", self), made=[graph])
        self.say(f"export: {graph}, {graph.stat().st_size / 2**20:.2f} MiB")
        return graph

    def verify(self) -> Verification:
        """Prove the graph and write `golden.npz` beside it."""
        graph = self.run.candidate / GRAPH_FILE
        if not graph.exists():
            raise ExportError(f"{graph} is not there; run `export` first")
        seed = derive(self.config.fit.seed, "verify")
        proof = verify_graph(self.export_plan, graph, seed)
        golden = self.run.candidate / GOLDEN_FILE
        write_golden(self.export_plan, graph, golden, seed)
        result = VerificationResult(graph_sha256=digest_file(graph).sha256, proof=proof)
        self.run.write("verification", result, reads=reads("verify", self), made=[golden])
        for name, error in proof.max_abs_error.items():
            self.say(f"  {name}: within {error:.3g} of torch ({proof.tolerance[name]:g} allowed)")
        self.say(f"verify: rows are bit-identical in batches of {proof.batch_sizes}")
        return proof

    def quantise(self) -> Variants:
        """Write `candidate/model.int8.onnx` where the kind has such a form, measure both graphs,
        and choose the one to serve; writes `variants.json`.
        """
        graph, folder, wanted = verified_graph(self.run), self.run.candidate, self.options.precision
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
                score=lambda path: self.kind.score(self.config, self.data, path, self.partner()),
                seed=derive(self.config.fit.seed, "verify"),
                wanted=wanted,
            )
            assert found.choice is not None
            self.say(f"quantise: {explain_choice(found.choice)}")
        elif wanted == "int8":
            raise ConfigError("this network has no int8 form; leave --precision out")
        else:
            found = float32_alone(self.export_plan, folder)
        made = [folder / file for file in found.sha256 if file != GRAPH_FILE]
        self.run.write("variants", found, reads=reads("quantise", self), made=made)
        return found

    def evaluate(self) -> EvaluationResult:
        """Measure the graph that will be served; writes plots and `evaluation.json`."""
        self.check_data(self.run.read("fit", FitResult, "fit").data.sha256)
        graph = verified_variants(self.run).check(self.run.candidate)
        self.run.plots.mkdir(exist_ok=True)
        evaluation = set_beside(
            self.kind.evaluate(self.config, self.data, graph, self.run.plots, self.partner()),
            self.kind,
            self.config,
            self.data,
            store=self.options.store,
            model=self.run.record.model,
            judge=self.partner(),
            named=self.options.baseline,
        )
        result = EvaluationResult(
            graph_sha256=digest_file(graph).sha256,
            metrics=evaluation.metrics,
            figures=evaluation.figures,
            samples=evaluation.samples,
            sections=evaluation.sections,
        )
        title = f"{self.run.record.model}: report of a run"
        write_report(self.run.plots, title, evaluation, self.kind.about.metric_notes)
        within = (figure for section in result.sections for figure in section.figures)
        made = [self.run.plots / figure.file for figure in (*result.figures, *within)]
        self.run.write("evaluation", result, reads=reads("evaluate", self), made=made)
        self.say("\n".join(f"  {key} = {value:.4g}" for key, value in result.metrics.items()))
        return result

    def gate(self) -> Gate:
        """Judge the evaluation; raises GateRefusedError if a figure is not good enough."""
        graph = verified_variants(self.run).check(self.run.candidate)
        metrics = evaluation_of(self.run, graph).metrics
        served = served_version(self.run.record, self.options)
        folder = version_folder(self.options.store, self.run.record.model)
        beside = None
        if served is not None and folder is not None:
            beside = measure_beside(
                *(self.kind, self.config, self.data, self.export_plan),
                graph=graph,
                served=served,
                folder=folder,
                judge=self.partner(),
            )
        demanded = rules(self.kind, self.options)
        verdict = judge(metrics, demanded, beside, ceilings=ceilings(self.options))
        self.run.write("gate", verdict, reads=reads("gate", self))
        if not verdict.passed:
            raise GateRefusedError(explain(verdict))
        self.say(explain(verdict))
        return verdict

    def publish(self) -> Path:
        """Write card and manifest, and make the candidate the served version, in place of the one
        that the gate compared it with; raises PublishError if another is served by now.
        """
        graph = verified_variants(self.run).check(self.run.candidate)
        complete(
            self.run,
            self.kind,
            self.config,
            self.export_plan,
            graph=graph,
            variants=verified_variants(self.run),
            evaluation=evaluation_of(self.run, graph),
        )
        folder = publish(
            self.run.candidate,
            self.options.store,
            self.run.record.model,
            instead_of=self.run.was_read("gate").get("served"),
            serve=self.options.trial is None,
        )
        self.say(f"published {folder}")
        if self.options.trial is not None:
            name = self.run.record.model
            self.say(begin_trial(self.options.store, name, folder.name, self.options.trial))
        return folder

    def partner(self) -> Path | None:
        """The version folder of the published model that takes part in the evaluation."""
        return partner_folder(self.options.store, self.kind, self.options.judge)

    def _draw_curves(self) -> None:
        records = read_metrics(self.run.folder)
        path = self.run.folder / CURVES_FILE
        plot_curves(records, self.kind.panels, path, step="epoch", step_label="Epoch")
