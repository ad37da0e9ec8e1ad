"""What every kind must do, whichever there are: the tests find them by looking."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import training.kinds
from service.session import Session
from tests.training.conformance import case
from training.config import KindConfig, from_dict, override
from training.export import export_graph
from training.kinds import kinds
from training.kinds.base import Export
from training.partners import partner_folder
from training.publish import served_manifest, version_folder
from training.summary import format_summary, summarise
from training.verify import BATCH_SIZES, verify_graph

CPU = torch.device("cpu")
KINDS = sorted(kinds())
PRESETS = [(kind, preset) for kind in KINDS for preset in kinds()[kind].presets]


def untrained(kind: str, preset: str, source: Path, cache_dir: Path) -> tuple[Export, Any]:
    family = kinds()[kind]
    config = family.presets[preset]
    data = family.load_data(str(source), cache_dir)
    task = family.task(config, data, CPU)
    return family.export(config, data, task.modules[task.served].eval()), data


def test_there_are_three_kinds_at_least() -> None:
    assert {"cnn", "gan", "lstm"} <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_conformance_case_presets_and_rules(kind: str, tmp_path: Path) -> None:
    family = kinds()[kind]
    assert case(kind).write_data(tmp_path / "data").exists()
    assert set(case(kind).FLOORS) == {rule.metric for rule in family.rules}
    assert {"standard", "tiny"} <= set(family.presets)
    assert all(isinstance(preset, KindConfig) for preset in family.presets.values())
    assert all(rule.floor is not None for rule in family.rules)
    assert {rule.metric for rule in family.rules} <= set(family.about.metric_notes)


def test_default_models_have_different_names() -> None:
    names = [family.default_model for family in kinds().values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_imports_no_other_kind(kind: str) -> None:
    source = Path(training.kinds.__file__).with_name(f"{kind}.py").read_text("utf-8")
    imported = {
        node.module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module is not None
    }
    assert imported.isdisjoint(f"training.kinds.{other}" for other in KINDS)


@pytest.mark.parametrize(("kind", "preset"), PRESETS)
def test_every_preset_exports_to_a_graph_that_does_the_same(
    kind: str, preset: str, sources: dict[str, Path], cache_dir: Path, tmp_path: Path
) -> None:
    plan, _ = untrained(kind, preset, sources[kind], cache_dir)
    graph = tmp_path / "model.onnx"
    export_graph(plan, graph)
    proof = verify_graph(plan, graph, seed=1)
    assert set(proof.max_abs_error) == {spec.name for spec in plan.outputs}
    assert proof.batch_sizes == BATCH_SIZES
    session = Session(graph)
    for specs, found in ((plan.inputs, session.inputs), (plan.outputs, session.outputs)):
        assert {spec.name: (spec.dtype, spec.shape) for spec in specs} == found
    operators = {node.op_type for node in onnx.load(graph).graph.node}
    assert "BatchNormalization" not in operators


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_of_the_gate_is_the_mean_over_examples_that_can_be_paired(
    kind: str, sources: dict[str, Path], cache_dir: Path, tiny_store: Path
) -> None:
    family = kinds()[kind]
    manifest = served_manifest(tiny_store, family.default_model)
    folder = version_folder(tiny_store, family.default_model)
    assert manifest is not None and folder is not None
    config = from_dict(type(family.presets["tiny"]), manifest.training.config)
    data = family.load_data(str(sources[kind]), cache_dir)
    partner = partner_folder(tiny_store, family, None)
    found = family.examples(config, data, folder / manifest.graph, partner)
    assert set(found) == {rule.metric for rule in family.rules}
    for metric, score_N in found.items():
        assert score_N.ndim == 1 and len(score_N) > 1
        assert score_N.dtype in (np.bool_, np.float64)
        assert float(score_N.mean()) == manifest.metrics[metric]
    assert set(family.fed) <= {spec.name for spec in manifest.inputs}
    assert family.fed


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_weights_make_the_same_file(
    kind: str, sources: dict[str, Path], cache_dir: Path, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        plan, _ = untrained(kind, "tiny", sources[kind], cache_dir)
        export_graph(plan, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_drawn_lie_within_their_declared_ranges(
    kind: str, sources: dict[str, Path], cache_dir: Path
) -> None:
    plan, _ = untrained(kind, "tiny", sources[kind], cache_dir)
    arrays = plan.draw_inputs(64, np.random.default_rng(0))
    for spec in plan.inputs:
        assert arrays[spec.name].dtype == spec.dtype
        assert spec.minimum is None or arrays[spec.name].min() >= spec.minimum
        assert spec.maximum is None or arrays[spec.name].max() <= spec.maximum


@pytest.mark.parametrize("kind", KINDS)
def test_the_summary_counts_every_weight(
    kind: str, sources: dict[str, Path], cache_dir: Path
) -> None:
    plan, _ = untrained(kind, "tiny", sources[kind], cache_dir)
    layers = summarise(plan)
    assert sum(layer.parameters for layer in layers) == sum(
        weight.numel() for weight in plan.module.parameters()
    )
    assert sum(layer.multiplications for layer in layers) > 0
    assert format_summary(layers).splitlines()[-1].startswith("total: ")


def test_multiplications_are_those_of_the_books(sources: dict[str, Path], cache_dir: Path) -> None:
    plan, _ = untrained("cnn", "textbook", sources["cnn"], cache_dir)
    found = [layer.multiplications for layer in summarise(plan)]
    assert found == [32 * 32 * 27 * 32, 16 * 16 * 9 * 32 * 64, 64 * 10]


def test_a_text_split_over_two_calls_reads_like_one(
    sources: dict[str, Path], cache_dir: Path, tmp_path: Path
) -> None:
    plan, _ = untrained("lstm", "tiny", sources["lstm"], cache_dir)
    export_graph(plan, tmp_path / "model.onnx")
    session = Session(tmp_path / "model.onnx")
    inputs = plan.draw_inputs(3, np.random.default_rng(0))
    whole = session.run(inputs)
    token, state = inputs["token"], inputs["state"]
    first = session.run({"token": np.ascontiguousarray(token[:, :5]), "state": state})
    second = session.run({"token": np.ascontiguousarray(token[:, 5:]), "state": first["state_out"]})
    logits = np.concatenate([first["logits"], second["logits"]], axis=1)
    np.testing.assert_allclose(logits, whole["logits"], atol=1e-5)
    np.testing.assert_allclose(second["state_out"], whole["state_out"], atol=1e-5)


def test_probabilities_sum_to_one_and_heat_maps_span_their_range(
    sources: dict[str, Path], cache_dir: Path, tmp_path: Path
) -> None:
    plan, _ = untrained("cnn", "standard", sources["cnn"], cache_dir)
    export_graph(plan, tmp_path / "model.onnx")
    outputs = Session(tmp_path / "model.onnx").run(plan.draw_inputs(5, np.random.default_rng(0)))
    np.testing.assert_allclose(outputs["probability"].sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(outputs["heatmap"].min(axis=(1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(outputs["heatmap"].max(axis=(1, 2)), 1, atol=1e-3)


def test_images_held_out_for_validation_are_not_trained_on(
    sources: dict[str, Path], cache_dir: Path
) -> None:
    family = kinds()["cnn"]
    config = override(family.presets["tiny"], ["validation_share=0.25", "fit.patience=1"])
    data = family.load_data(str(sources["cnn"]), cache_dir)
    task = family.task(config, data, CPU)
    kept = {image.tobytes() for image in task.images.numpy()}
    held = {image.tobytes() for image in task.held_out.images}
    assert (len(kept), len(held)) == (60, 20)
    assert kept.isdisjoint(held)
    assert kept | held == {image.tobytes() for image in data.train.images}
    assert task.monitor == ("val_accuracy", "max")
