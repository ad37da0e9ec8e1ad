"""A version that is not what it says, or does not compute what it did, is never served."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from service.contract import (
    GOLDEN_FILE,
    GRAPH_FILE,
    INT8_GOLDEN_FILE,
    INT8_GRAPH_FILE,
    Golden,
    Variant,
    WantedPrecision,
    digest_file,
)
from service.errors import ContractError, GoldenMismatchError
from service.kinds import kinds
from service.loading import LoadedModel, golden, load
from service.oip.descriptions import model_config
from service.session import Session
from service.settings import Settings
from service.store import Store
from tests.service.variants import (
    Arrays,
    copy_store,
    current_folder,
    move_weights,
    publish_variant,
    read_manifest,
    write_golden,
)
from training.quantise.recurrent import quantise_recurrent


@pytest.fixture
def store(tiny_store: Path, tmp_path: Path) -> Store:
    return copy_store(tiny_store, tmp_path / "store")


def load_current(store: Store, name: str) -> LoadedModel:
    return load(store, name, store.current(name), provider="cpu", warm_rows=(1, 4))


def change_golden(change: Callable[[Arrays, Arrays], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        inputs, outputs = golden(folder)
        change(inputs, outputs)
        write_golden(folder, inputs, outputs)

    return apply


def test_every_model_of_a_sound_store_loads(store: Store) -> None:
    for name in store.names():
        model = load_current(store, name)
        assert model.label == f"{name} {store.current(name)}"
        assert model.folder == current_folder(store, name)


def test_a_variant_with_other_weights_loads_and_answers_differently(
    store: Store, tmp_path: Path
) -> None:
    before = load_current(store, "cifar10")
    publish_variant(store, "cifar10", "v2", tmp_path, change=move_weights)
    after = load_current(store, "cifar10")
    inputs, _ = golden(before.folder)
    first, second = before.session.run(inputs), after.session.run(inputs)
    assert not np.array_equal(first["probability"], second["probability"])


def test_outputs_beyond_the_golden_limit_are_refused(store: Store, tmp_path: Path) -> None:
    def nudge(_: Arrays, outputs: Arrays) -> None:
        outputs["probability"][-1, -1] += 0.0125

    limits = read_manifest(current_folder(store, "cifar10")).golden.max_abs_error
    assert limits["probability"] < 0.01
    publish_variant(store, "cifar10", "v2", tmp_path, change=change_golden(nudge))
    with pytest.raises(GoldenMismatchError, match=r"probability differs by 0\.012"):
        load_current(store, "cifar10")


def test_a_golden_nan_is_refused(store: Store, tmp_path: Path) -> None:
    def spoil(_: Arrays, outputs: Arrays) -> None:
        outputs["logits"][0] = np.nan

    publish_variant(store, "shakespeare", "v2", tmp_path, change=change_golden(spoil))
    with pytest.raises(GoldenMismatchError, match="logits differs by nan"):
        load_current(store, "shakespeare")


def test_a_golden_shape_is_compared(store: Store, tmp_path: Path) -> None:
    def shorten(_: Arrays, outputs: Arrays) -> None:
        outputs["image"] = outputs["image"][:-1]

    publish_variant(store, "cifar10-gan", "v2", tmp_path, change=change_golden(shorten))
    with pytest.raises(GoldenMismatchError, match="image has shape"):
        load_current(store, "cifar10-gan")


@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_golden_must_hold_every_tensor(store: Store, tmp_path: Path, side: str) -> None:
    def drop(inputs: Arrays, outputs: Arrays) -> None:
        (inputs if side == "inputs" else outputs).popitem()

    publish_variant(store, "shakespeare", "v2", tmp_path, change=change_golden(drop))
    with pytest.raises(ContractError, match=GOLDEN_FILE):
        load_current(store, "shakespeare")


def test_no_golden_output_is_not_a_proof(store: Store, tmp_path: Path) -> None:
    publish_variant(
        store,
        "cifar10",
        "v2",
        tmp_path,
        change=change_golden(lambda _, outputs: outputs.clear()),
        golden=Golden(rows=8, max_abs_error={}),
    )
    with pytest.raises(ContractError, match=GOLDEN_FILE):
        load_current(store, "cifar10")


def test_golden_inputs_that_the_graph_refuses(store: Store, tmp_path: Path) -> None:
    def cast(inputs: Arrays, _: Arrays) -> None:
        inputs["image"] = inputs["image"].astype(np.float32)

    publish_variant(store, "cifar10", "v2", tmp_path, change=change_golden(cast))
    with pytest.raises(ContractError, match="cifar10 v2"):
        load_current(store, "cifar10")


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", b"nothing of the kind"])
def test_a_damaged_golden_file_is_refused(store: Store, tmp_path: Path, damage: bytes) -> None:
    def spoil(folder: Path) -> None:
        (folder / GOLDEN_FILE).write_bytes(damage)

    publish_variant(store, "cifar10", "v2", tmp_path, change=spoil)
    with pytest.raises(ContractError, match=GOLDEN_FILE):
        load_current(store, "cifar10")


def test_a_truncated_golden_archive_is_refused(store: Store, tmp_path: Path) -> None:
    def truncate(folder: Path) -> None:
        path = folder / GOLDEN_FILE
        path.write_bytes(path.read_bytes()[:-100])

    publish_variant(store, "cifar10", "v2", tmp_path, change=truncate)
    with pytest.raises(ContractError, match=GOLDEN_FILE):
        load_current(store, "cifar10")


@pytest.mark.parametrize("kept", [0, 10, 2000])
def test_a_damaged_graph_is_refused(store: Store, tmp_path: Path, kept: int) -> None:
    def truncate(folder: Path) -> None:
        path = folder / GRAPH_FILE
        path.write_bytes(path.read_bytes()[:kept])

    publish_variant(store, "cifar10", "v2", tmp_path, change=truncate)
    with pytest.raises(ContractError, match=r"model\.onnx"):
        load_current(store, "cifar10")


@pytest.mark.parametrize("side", ["inputs", "outputs"])
@pytest.mark.parametrize(
    "change", [{"dtype": "float32"}, {"shape": ("N", 1)}, {"name": "unheard_of"}]
)
def test_tensors_must_be_those_of_the_manifest(
    store: Store, tmp_path: Path, side: str, change: dict[str, object]
) -> None:
    manifest = read_manifest(current_folder(store, "cifar10-gan"))
    specs = list(getattr(manifest, side))
    specs[-1] = msgspec.structs.replace(specs[-1], **change)
    publish_variant(store, "cifar10-gan", "v2", tmp_path, **{side: tuple(specs)})
    with pytest.raises(ContractError, match=f"graph's {side} are"):
        load_current(store, "cifar10-gan")


def test_a_date_that_is_none_is_refused(store: Store, tmp_path: Path) -> None:
    publish_variant(store, "cifar10", "v2", tmp_path, created_at="yesterday")
    with pytest.raises(ContractError, match="created_at"):
        load_current(store, "cifar10")


def test_a_tensor_type_outside_the_contract_is_refused(store: Store, tmp_path: Path) -> None:
    def widen(folder: Path) -> None:
        model = onnx.load(folder / GRAPH_FILE)
        name = model.graph.output[0].name
        model.graph.node.append(
            onnx.helper.make_node("Cast", [name], ["wide"], to=onnx.TensorProto.DOUBLE)
        )
        model.graph.output[0].name = "wide"
        model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
        onnx.save(model, folder / GRAPH_FILE)

    publish_variant(store, "cifar10", "v2", tmp_path, change=widen)
    with pytest.raises(ContractError, match=r"tensor\(double\)"):
        load_current(store, "cifar10")


@pytest.mark.parametrize(
    ("name", "kind"), [("cifar10", "lstm"), ("shakespeare", "gan"), ("cifar10-gan", "cnn")]
)
def test_a_kind_refuses_the_tensors_of_another(store: Store, name: str, kind: str) -> None:
    manifest = read_manifest(current_folder(store, name))
    with pytest.raises(ContractError, match=f"a {kind} has the"):
        kinds()[kind].check(manifest)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("cifar10", {"labels": ("cat", "dog")}),
        ("cifar10-gan", {"labels": ()}),
        ("shakespeare", {"vocabulary": "abc"}),
    ],
)
def test_a_kind_refuses_names_that_do_not_fit_the_tensors(
    store: Store, name: str, names: dict[str, object]
) -> None:
    manifest = msgspec.structs.replace(read_manifest(current_folder(store, name)), **names)
    with pytest.raises(ContractError, match=next(iter(names))):
        kinds()[manifest.kind].check(manifest)


@pytest.fixture
def varied(store: Store, tmp_path: Path) -> Store:
    """The text model in two precisions, of which the gate picked int8."""

    def add_int8(folder: Path) -> None:
        assert quantise_recurrent(folder / GRAPH_FILE, folder / INT8_GRAPH_FILE)
        inputs, outputs = golden(folder)
        outputs = Session(folder / INT8_GRAPH_FILE).run(inputs, list(outputs))
        write_golden(folder, inputs, outputs, INT8_GOLDEN_FILE)

    close = read_manifest(current_folder(store, "shakespeare")).golden
    variants = (
        Variant(precision="float32", graph=GRAPH_FILE, golden_file=GOLDEN_FILE, golden=close),
        Variant(
            precision="int8", graph=INT8_GRAPH_FILE, golden_file=INT8_GOLDEN_FILE, golden=close
        ),
    )
    changed = {"variants": variants, "graph": INT8_GRAPH_FILE}
    publish_variant(store, "shakespeare", "both", tmp_path, change=add_int8, **changed)
    return store


@pytest.mark.parametrize(
    ("wanted", "served"), [("auto", "int8"), ("int8", "int8"), ("float32", "float32")]
)
def test_the_precision_wanted_is_served_and_said(
    varied: Store, wanted: WantedPrecision, served: str
) -> None:
    model = load(varied, "shakespeare", "both", provider="cpu", precision=wanted, warm_rows=(1, 4))
    manifest = model.manifest
    assert manifest.served.precision == served
    assert manifest.graph_sha256 == digest_file(model.folder / manifest.served.graph).sha256
    parameters = model_config(manifest, Settings())["parameters"]
    assert parameters["precision"] == {"string_value": served}
    inputs, expected = golden(model.folder, manifest.served.golden_file)
    np.testing.assert_array_equal(model.session.run(inputs)["logits"], expected["logits"])
    assert model.invariance is not None
    assert model.invariance.holds


def test_each_precision_must_match_golden_outputs_of_its_own(varied: Store, tmp_path: Path) -> None:
    def swap(folder: Path) -> None:
        (folder / INT8_GOLDEN_FILE).write_bytes((folder / GOLDEN_FILE).read_bytes())

    before = read_manifest(current_folder(varied, "shakespeare"))
    strict = Golden(rows=8, max_abs_error={"logits": 1e-5, "state_out": 1e-5})
    variants = tuple(msgspec.structs.replace(one, golden=strict) for one in before.variants)
    publish_variant(varied, "shakespeare", "wrong", tmp_path, change=swap, variants=variants)
    with pytest.raises(GoldenMismatchError):
        load(varied, "shakespeare", "wrong", provider="cpu", warm_rows=())
    sound = load(varied, "shakespeare", "wrong", provider="cpu", precision="float32", warm_rows=())
    assert sound.manifest.served.precision == "float32"


def test_a_model_of_one_precision_is_served_in_it(store: Store) -> None:
    version = store.current("cifar10-gan")
    model = load(store, "cifar10-gan", version, provider="cpu", precision="int8", warm_rows=())
    assert model.manifest.served.precision == "float32"


@pytest.fixture
def interrupted() -> Iterator[None]:
    """Threads change wherever memory is collected, which is where Python 3.11 fails."""

    def give_way(*_: object) -> None:
        time.sleep(0)

    before = gc.get_threshold()
    gc.callbacks.append(give_way)
    gc.set_threshold(50)
    yield
    gc.set_threshold(*before)
    gc.callbacks.remove(give_way)


@pytest.mark.usefixtures("interrupted")
def test_threads_may_read_golden_outputs_at_once(store: Store) -> None:
    """As models are loaded; NumPy by itself fails at that now and then."""
    folders = [store.folder(name, store.current(name)) for name in store.names()]

    def read(turn: int) -> int:
        inputs, outputs = golden(folders[turn % len(folders)])
        return len(inputs) * len(outputs)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(read, range(600)))
