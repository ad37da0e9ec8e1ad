"""The only door to onnxruntime: what loads, what is refused, and within which memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from service.errors import ContractError, SettingsError
from service.invariance import random_arrays
from service.loading import golden
from service.session import Session, check_provider, versions
from service.store import Store
from tests.conftest import ROOT
from tests.service.variants import current_folder

needs_no_cuda = pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
    reason="this onnxruntime has the CUDA provider",
)


@pytest.fixture(scope="module")
def graph(tiny_store: Path) -> Path:
    return current_folder(Store(tiny_store), "cifar10") / "model.onnx"


def test_outputs_are_those_asked_for(graph: Path) -> None:
    session = Session(graph)
    inputs, _ = golden(graph.parent)
    everything = session.run(inputs)
    assert set(everything) == set(session.outputs)
    some = session.run(inputs, ["probability"])
    assert list(some) == ["probability"]
    np.testing.assert_array_equal(some["probability"], everything["probability"])


def test_more_threads_change_no_shape(graph: Path) -> None:
    inputs, expected = golden(graph.parent)
    found = Session(graph, threads=2).run(inputs)
    assert {name: array.shape for name, array in found.items()} == {
        name: array.shape for name, array in expected.items()
    }


@needs_no_cuda
def test_a_provider_that_is_not_there_is_no_fall_back(graph: Path) -> None:
    check_provider("cpu")
    with pytest.raises(SettingsError, match="CUDAExecutionProvider") as caught:
        Session(graph, provider="cuda")
    assert caught.value.field == "TRIPTYCH_PROVIDER"
    assert "CPUExecutionProvider" in caught.value.message


@pytest.mark.parametrize("content", [b"", b"no graph"])
def test_what_is_no_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ContractError, match=r"model\.onnx cannot be loaded"):
        Session(path)
    with pytest.raises(ContractError, match="cannot be loaded"):
        Session(tmp_path / "missing.onnx")


def test_random_arrays_fit_their_specs() -> None:
    specs = {
        "token": ("int64", ("N", "T")),
        "state": ("float32", ("N", 6)),
        "image": ("uint8", ("N", 2)),
    }
    rng = np.random.default_rng(0)
    arrays = random_arrays(specs, {"N": 50, "T": 3}, rng, {"token": 4})
    assert {name: (array.dtype, array.shape) for name, array in arrays.items()} == {
        "token": (np.int64, (50, 3)),
        "state": (np.float32, (50, 6)),
        "image": (np.uint8, (50, 2)),
    }
    assert set(np.unique(arrays["token"])) == {0, 1, 2, 3}
    assert set(np.unique(arrays["image"])) == {0, 1}


def test_versions_are_recorded() -> None:
    assert versions() == {"onnxruntime": onnxruntime.__version__}


@pytest.mark.parametrize(("limit_mib", "fits"), [(512, True), (1, False)])
def test_the_arena_bounds_the_memory(graph: Path, limit_mib: int, fits: bool) -> None:
    """In a process of its own: the arena is the process's, and the first limit stays."""
    program = f"""
import numpy as np
from pathlib import Path
from service.session import Arena, Session
Arena.share({limit_mib} * 2**20)
Arena.share(10**12)
assert Arena.shared()
session = Session(Path({str(graph)!r}))
(shape,) = [shape for _, shape in session.inputs.values()]
small = np.zeros((1, *shape[1:]), np.uint8)
session.run({{"image": small}})
try:
    session.run({{"image": np.repeat(small, 500, axis=0)}})
except Exception as error:
    print("refused", "memory" in str(error))
    session.run({{"image": small}})
else:
    print("computed")
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip() == ("computed" if fits else "refused True")


@pytest.mark.parametrize("name", ["cifar10", "cifar10-gan", "shakespeare"])
def test_padded_to_a_bucket_the_rows_are_the_same(tiny_store: Path, name: str) -> None:
    """Also where a run is larger than the largest bucket."""
    path = current_folder(Store(tiny_store), name) / "model.onnx"
    plain, padded = Session(path), Session(path, bucket_rows=(1, 4, 16))
    rng = np.random.default_rng(0)
    for rows in (1, 2, 3, 4, 5, 16, 17, 1, 3):
        for length in (1, 3):
            inputs = random_arrays(plain.inputs, {"N": rows, "T": length}, rng, {"label": 10})
            expected, found = plain.run(inputs), padded.run(inputs)
            for output, array in expected.items():
                np.testing.assert_array_equal(found[output], array)
            kept = {output: array.copy() for output, array in found.items()}
            padded.run({tensor: array[::-1].copy() for tensor, array in inputs.items()})
            for output, array in kept.items():  # the buffers are not handed out
                np.testing.assert_array_equal(found[output], array)


def test_a_bound_run_reads_and_writes_in_place(tiny_store: Path) -> None:
    session = Session(current_folder(Store(tiny_store), "shakespeare") / "model.onnx")
    rng = np.random.default_rng(0)
    inputs = random_arrays(session.inputs, {"N": 3, "T": 1}, rng, {"token": 5})
    outputs = {tensor: np.zeros_like(array) for tensor, array in session.run(inputs).items()}
    run = session.bind(inputs, outputs)
    for token in (0, 4):
        inputs["token"][:] = token
        run()
        for output, array in session.run(inputs).items():
            np.testing.assert_array_equal(outputs[output], array)
