"""Other versions of a published model: sound ones, and ones broken in a chosen way."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from service.contract import (
    CURRENT_FILE,
    GOLDEN_FILE,
    GRAPH_FILE,
    MANIFEST_FILE,
    Manifest,
    decode_manifest,
)
from service.loading import golden
from service.session import Session
from service.store import Store
from training.publish import publish, seal

Arrays = dict[str, NDArray[Any]]


def copy_store(store: Path, target: Path) -> Store:
    """A copy that a test may change."""
    shutil.copytree(store, target)
    return Store(target)


def current_folder(store: Store, name: str) -> Path:
    return store.folder(name, store.current(name))


def read_manifest(folder: Path) -> Manifest:
    return decode_manifest((folder / MANIFEST_FILE).read_bytes())


def write_golden(folder: Path, inputs: Arrays, outputs: Arrays, file: str = GOLDEN_FILE) -> None:
    named = {f"input.{name}": array for name, array in inputs.items()}
    named |= {f"output.{name}": array for name, array in outputs.items()}
    np.savez(folder / file, allow_pickle=False, **named)


def make_variant(
    store: Store,
    name: str,
    version: str,
    folder: Path,
    *,
    change: Callable[[Path], None] | None = None,
    **replaced: Any,
) -> Path:
    """A candidate in `folder`: the current version, `change`d, with manifest fields `replaced`."""
    source = current_folder(store, name)
    shutil.copytree(source, folder)
    if change is not None:
        change(folder)
    manifest = read_manifest(source)
    seal(folder, msgspec.structs.replace(manifest, version=version, **replaced))
    return folder


def move_weights(folder: Path) -> None:
    """Give the graph other weights, and golden outputs that fit them."""
    model = onnx.load(folder / GRAPH_FILE)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.ndim >= 2:
            moved = np.roll(array, 1, axis=-1) * np.float32(1.25)
            tensor.CopyFrom(numpy_helper.from_array(moved, tensor.name))
    onnx.save(model, folder / GRAPH_FILE)
    inputs, outputs = golden(folder)
    write_golden(folder, inputs, Session(folder / GRAPH_FILE).run(inputs, list(outputs)))


def publish_variant(store: Store, name: str, version: str, scratch: Path, **options: Any) -> Path:
    """Make a variant and publish it: CURRENT names it afterwards."""
    candidate = make_variant(store, name, version, scratch / f"{name}-{version}", **options)
    return publish(candidate, Path(store.home.location), name)


def set_current(store: Store, name: str, text: str) -> None:
    """Replace CURRENT in one step, whatever `text` is."""
    partial = Path(store.home.location) / name / f".{CURRENT_FILE}-partial"
    partial.write_text(text, encoding="utf-8")
    partial.replace(Path(store.home.location) / name / CURRENT_FILE)
