"""Every kind keeps the contract: kinds are found by looking, and each must have its case."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from service.contract import MANIFEST_FILE, Manifest
from service.kinds import kinds
from service.loading import golden, load
from service.session import Session
from service.store import Store
from tests.conformance.cases import CASES, Case
from tests.conftest import ROOT

SHIPPED = ROOT / "models"
BATCH_SIZES = (1, 2, 3, 7, 16, 32, 64)


def shipped_names() -> list[str]:
    return Store(SHIPPED).names() if SHIPPED.is_dir() else []


@pytest.fixture(scope="module", params=["tiny", *(f"shipped {name}" for name in shipped_names())])
def store(request: pytest.FixtureRequest, tiny_store: Path) -> tuple[Store, list[str]]:
    """The tiny models, and each shipped one."""
    where, _, name = request.param.partition(" ")
    if where == "shipped":
        return Store(SHIPPED), [name]
    return Store(tiny_store), Store(tiny_store).names()


def models(store: tuple[Store, list[str]]) -> list[tuple[Manifest, Session, Case, Path]]:
    """Every model of a store, verified, with its kind's case."""
    found = []
    for name in store[1]:
        manifest = store[0].verified(name, store[0].current(name))
        folder = store[0].folder(name, manifest.version)
        found.append((manifest, Session(folder / manifest.graph), CASES[manifest.kind], folder))
    assert found
    return found


def kind_names(package: Path) -> set[str]:
    return {path.stem for path in package.glob("*.py")} - {"__init__", "base"}


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_a_kind_has_its_case_and_its_place_in_both_rooms(kind: str) -> None:
    assert kind in CASES, f"add the conformance case of {kind!r} to tests/conformance/cases.py"
    assert (ROOT / "service/kinds" / f"{kind}.py").is_file()
    assert (ROOT / "training/kinds" / f"{kind}.py").is_file()


def test_no_kind_is_overlooked() -> None:
    assert set(kinds()) == kind_names(ROOT / "service/kinds") == kind_names(ROOT / "training/kinds")


def test_a_kind_declares_the_tensors_of_its_case() -> None:
    for name, kind in kinds().items():
        case = CASES[name]
        assert kind.inputs == {tensor: dtype for tensor, (dtype, _) in case.inputs.items()}
        assert kind.outputs == {tensor: dtype for tensor, (dtype, _) in case.outputs.items()}


def test_the_tiny_store_has_a_model_of_each_kind(tiny_store: Path) -> None:
    store = Store(tiny_store)
    found = {store.verified(name, store.current(name)).kind for name in store.names()}
    assert found == set(kinds())


def test_tensors_are_those_of_the_contract(store: tuple[Store, list[str]]) -> None:
    for manifest, session, case, _ in models(store):
        kinds()[manifest.kind].check(manifest)
        sizes = case.sizes(manifest)
        for promised, found in ((case.inputs, session.inputs), (case.outputs, session.outputs)):
            for name, (dtype, shape) in promised.items():
                resolved = tuple(
                    sizes.get(axis, axis) if isinstance(axis, str) else axis for axis in shape
                )
                assert found[name] == (dtype, resolved)
        assert set(session.inputs) == set(case.inputs)


def test_outputs_keep_their_shapes_and_ranges(store: tuple[Store, list[str]]) -> None:
    for manifest, session, case, _ in models(store):
        outputs = session.run(case.draw(manifest, 5, np.random.default_rng(0)))
        for name, array in outputs.items():
            dtype, shape = session.outputs[name]
            assert array.dtype == dtype
            assert array.shape[0] == 5
            assert array.ndim == len(shape)
            assert np.isfinite(array.astype(float)).all()
        for name, (low, high) in case.ranges.items():
            assert low <= outputs[name].min() <= outputs[name].max() <= high
        if "probability" in outputs:
            np.testing.assert_allclose(outputs["probability"].sum(axis=1), 1, atol=1e-5)


def test_a_row_is_the_same_to_the_bit_in_any_batch(store: tuple[Store, list[str]]) -> None:
    for manifest, session, case, _ in models(store):
        inputs = case.draw(manifest, 64, np.random.default_rng(1))
        reference = session.run(inputs)
        for rows in BATCH_SIZES:
            for first in {0, 5 % rows, 64 - rows}:
                part = {name: array[first : first + rows] for name, array in inputs.items()}
                for name, array in session.run(part).items():
                    expected = reference[name][first : first + rows]
                    assert array.tobytes() == expected.tobytes(), (
                        f"{manifest.name}: {name} differs at batch {rows}"
                    )


def test_a_row_does_not_depend_on_its_neighbours(store: tuple[Store, list[str]]) -> None:
    for manifest, session, case, _ in models(store):
        one = case.draw(manifest, 1, np.random.default_rng(2))
        alone = session.run(one)
        others = case.draw(manifest, 6, np.random.default_rng(3))
        for place in (0, 3, 6):
            inputs = {
                name: np.concatenate([others[name][:place], one[name], others[name][place:]])
                for name in one
            }
            for name, array in session.run(inputs).items():
                assert array[place].tobytes() == alone[name][0].tobytes()


def test_each_variants_golden_outputs_are_reproduced(store: tuple[Store, list[str]]) -> None:
    for manifest, _, _, folder in models(store):
        for variant in manifest.variants or (manifest.served,):
            session = Session(folder / variant.graph)
            inputs, expected = golden(folder, variant.golden_file)
            limits = variant.golden.max_abs_error
            assert set(expected) == set(limits)
            assert {len(array) for array in inputs.values()} == {variant.golden.rows}
            found = session.run(inputs)
            for name, array in expected.items():
                worst = np.abs(found[name].astype(float) - array.astype(float)).max()
                assert worst <= limits[name], f"{manifest.name}: {name} of {variant.graph}"


def test_a_published_model_loads_as_the_service_loads_it(
    store: tuple[Store, list[str]],
) -> None:
    for manifest, _, _, folder in models(store):
        model = load(store[0], manifest.name, manifest.version, provider="cpu", warm_rows=(1, 64))
        assert model.manifest == manifest
        assert manifest.gate.passed
        assert set(manifest.files) | {MANIFEST_FILE} == {path.name for path in folder.iterdir()}
