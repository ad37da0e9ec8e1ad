"""From a version's folder to a graph that may serve: verified, loaded, warmed, proven.

A version that fails any step is refused with the reason; nothing of it is served.
"""

from __future__ import annotations

import threading
import time
import zipfile
import zlib
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from service.batch_size import choose_batch_rows
from service.contract import GOLDEN_FILE, Manifest, TensorSpec, WantedPrecision
from service.errors import ContractError, GoldenMismatchError
from service.invariance import Invariance, warm
from service.session import Arrays, Provider, Session
from service.store import Store


@dataclass(frozen=True)
class LoadedModel:
    """A version that passed every check."""

    manifest: Manifest
    session: Session
    folder: Path
    batch_rows: int | None = None
    """Rows that a run should have at most; None if nothing was warmed up."""
    invariance: Invariance | None = None
    """None if it was not checked: no batch was asked to be warmed up."""

    @property
    def label(self) -> str:
        """Name and version, for messages."""
        return f"{self.manifest.name} {self.manifest.version}"


def load(
    store: Store,
    name: str,
    version: str,
    *,
    provider: Provider,
    precision: WantedPrecision = "auto",
    warm_rows: tuple[int, ...],
    device_memory_bytes: int | None = None,
) -> LoadedModel:
    """Verify hashes, load the graph, compare it with its manifest, warm it, match golden outputs.

    Args:
        store: where it lies.
        name: the model.
        version: the version.
        provider: where it will run.
        precision: the variant wanted; `auto` is the gate's pick on a processor and float32 on CUDA,
            where onnxruntime computes int8 graphs piece by piece. A model that lacks the one wanted
            is served as it was published.
        device_memory_bytes: as of `Session`.
        warm_rows: batch sizes that will come. The session is run at some of them, up to the
            largest that pays (`batch_rows`), and rows of that are compared (`invariance`).

    Raises:
        ContractError: any step failed; the message says which.

    """
    manifest = _wanted(store.verified(name, version), provider, precision)
    _check_date(manifest)
    folder = store.folder(name, version)
    session = Session(
        folder / manifest.graph,
        provider=provider,
        device_memory_bytes=device_memory_bytes,
        bucket_rows=_buckets(max(warm_rows, default=0)) if provider == "cuda" else (),
    )
    model = LoadedModel(manifest, session, folder)
    _check_tensors(model, "input", manifest.inputs, session.inputs)
    _check_tensors(model, "output", manifest.outputs, session.outputs)
    try:
        _match_golden(model)
        high = _high(manifest)
        clock = time.thread_time if provider == "cpu" else time.perf_counter
        rows = choose_batch_rows(session, high, max(warm_rows), clock=clock) if warm_rows else None
        invariance = warm(session, high, (1, rows)) if rows else None
    except ContractError:
        raise
    except Exception as error:  # onnxruntime raises its own types, one per status code
        raise ContractError(f"{model.label}: the graph does not run: {error}") from error
    return replace(model, batch_rows=rows, invariance=invariance)


def _wanted(manifest: Manifest, provider: Provider, precision: WantedPrecision) -> Manifest:
    """The manifest of the variant that will be served."""
    if precision != "auto":
        return manifest.serving(precision)
    return manifest.serving("float32") if provider == "cuda" else manifest


def _buckets(most_rows: int) -> list[int]:
    """Powers of two up to the largest batch."""
    return [2**power for power in range((most_rows - 1).bit_length())] + [most_rows]


def _high(manifest: Manifest) -> dict[str, int]:
    """Exclusive bounds of the integer inputs."""
    return {
        spec.name: int(spec.maximum) + 1
        for spec in manifest.inputs
        if spec.maximum is not None and spec.dtype != "float32"
    }


def _check_date(manifest: Manifest) -> None:
    try:
        datetime.fromisoformat(manifest.created_at)
    except ValueError as error:
        raise ContractError(f"{manifest.name}: created_at: {error}") from error


def _check_tensors(
    model: LoadedModel,
    what: str,
    specs: tuple[TensorSpec, ...],
    found: dict[str, tuple[str, tuple[int | str, ...]]],
) -> None:
    declared = {spec.name: (spec.dtype, spec.shape) for spec in specs}
    if declared != found:
        raise ContractError(
            f"{model.label}: the graph's {what}s are {found}, its manifest says {declared}"
        )


_READING = threading.Lock()
"""NumPy reads the heads of arrays by `ast.literal_eval`, which now and then fails where several
threads of Python 3.11 are at it (python/cpython#106905): a model would not be served, by chance."""


def golden(folder: Path, file: str = GOLDEN_FILE) -> tuple[Arrays, Arrays]:
    """Read golden inputs and outputs by tensor name; raises ContractError if it cannot."""
    inputs: Arrays = {}
    outputs: Arrays = {}
    try:
        with (
            _READING,
            (folder / file).open("rb") as opened,
            np.load(opened, allow_pickle=False) as archive,
        ):
            for key in archive.files:
                side, _, tensor = key.partition(".")
                {"input": inputs, "output": outputs}[side][tensor] = archive[key]
    except (
        OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise ContractError(f"{folder / file} cannot be read: {error}") from error
    return inputs, outputs


def _match_golden(model: LoadedModel) -> None:
    served = model.manifest.served
    inputs, expected = golden(model.folder, served.golden_file)
    limits = served.golden.max_abs_error
    if set(inputs) != set(model.session.inputs) or set(expected) != set(limits) or not expected:
        raise ContractError(
            f"{model.label}: {served.golden_file} does not hold what the manifest says"
        )
    found = model.session.run(inputs, sorted(expected))
    for name, expected_array in expected.items():
        if found[name].shape != expected_array.shape:
            raise GoldenMismatchError(
                f"{model.label}: golden output {name} has shape {found[name].shape}, "
                f"expected {expected_array.shape}"
            )
        difference = np.abs(found[name].astype(np.float64) - expected_array.astype(np.float64))
        worst = float(difference.max(initial=0.0))
        if not worst <= limits[name]:  # `not <=` refuses NaN as well
            raise GoldenMismatchError(
                f"{model.label}: golden output {name} differs by {worst:g}; "
                f"the limit is {limits[name]:g}"
            )
