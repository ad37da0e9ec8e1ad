"""The contract between the rooms: what a published model is, on disk and in `manifest.json`.

`training` writes it, `service` reads it, and it is defined here once.

    models/<name>/CURRENT                   the served version's name and a newline
    models/<name>/<version>/model.onnx      the graph, with its own pre- and post-processing
    models/<name>/<version>/manifest.json   `Manifest`
    models/<name>/<version>/golden.npz      arrays `input.<tensor>` and `output.<tensor>`
    models/<name>/<version>/model.int8.onnx, golden.int8.npz      the same in int8, where it pays
    models/<name>/<version>/card.md         for people, with its plots beside it

Version folders are immutable. A folder whose name starts with a dot is not a version.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, Literal

import msgspec

from service.errors import ContractError

SCHEMA_VERSION = 3
"""2 added `variants` and `choice`; a manifest of version 1 has one graph, in float32. 3 added to a
check of the gate the test beside the served version."""
READABLE_VERSIONS = (1, 2, 3)

CURRENT_FILE = "CURRENT"
MANIFEST_FILE = "manifest.json"
GRAPH_FILE = "model.onnx"
GOLDEN_FILE = "golden.npz"
INT8_GRAPH_FILE = "model.int8.onnx"
INT8_GOLDEN_FILE = "golden.int8.npz"
CARD_FILE = "card.md"

NAME_PATTERN = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
"""Model and version names: lower-case letters, digits, dot, dash, underscore; 1 to 64 long."""

Dtype = Literal["uint8", "int64", "float32"]
Precision = Literal["float32", "int8"]
"""In what a graph's matrix products and convolutions are computed; its tensors stay as they are."""
WantedPrecision = Literal["auto", "float32", "int8"]


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Immutable, and an unknown key is an error."""


class TensorSpec(_Record, frozen=True, kw_only=True):
    """One input or output of the graph.

    `shape` holds sizes, and names for dynamic axes (`"N"`, `"T"`). `minimum` and `maximum` are
    inclusive bounds of the values where they have any.
    """

    name: str
    dtype: Dtype
    shape: tuple[int | str, ...]
    minimum: float | None = None
    maximum: float | None = None
    description: str = ""


class FileDigest(_Record, frozen=True, kw_only=True):
    """What a file of the version folder must be."""

    sha256: str
    bytes: int


class Golden(_Record, frozen=True, kw_only=True):
    """How closely a loaded graph must reproduce `golden.npz`.

    `max_abs_error` maps each output's name to the largest absolute difference allowed (in the
    output's own units: grey levels for a uint8 image).
    """

    rows: int
    max_abs_error: dict[str, float]


class Variant(_Record, frozen=True, kw_only=True):
    """One precision of the graph: its files, and what was measured of it.

    `metrics` are the figures that the gate judges. `rows_per_s` was measured on one thread, all
    variants by turns in one run; None where there was nothing to compare with.
    """

    precision: Precision
    graph: str
    golden_file: str
    golden: Golden
    metrics: dict[str, float] = msgspec.field(default_factory=dict)
    rows_per_s: float | None = None


class Choice(_Record, frozen=True, kw_only=True):
    """Why int8 is served, or why not: what it loses in `metric`, and how many times as fast as
    float32 it is in batches of `timed_rows`, each beside what was demanded.
    """

    picked: Precision
    metric: str
    loss: float
    most_loss: float
    speedup: float
    least_speedup: float
    timed_rows: int


class GateCheck(_Record, frozen=True, kw_only=True):
    """One figure the gate looked at. `served` is the figure of the version served at that time.

    Where both were measured on the same examples, `test` names the paired test, `p_value` is how
    likely a version as good as the served one is to look at least so much worse, and `worse` and
    `better` count the `examples` on which it is; `tolerance` is then what may be lost all the same.
    Otherwise `note` says why they were not, where there was a version to compare with.
    """

    metric: str
    value: float
    goal: Literal["max", "min"]
    floor: float | None = None
    served: float | None = None
    tolerance: float = 0.0
    passed: bool
    test: str = ""
    p_value: float | None = None
    worse: int | None = None
    better: int | None = None
    examples: int | None = None
    note: str = ""


class Gate(_Record, frozen=True, kw_only=True):
    """The verdict; a published version has `passed` true."""

    passed: bool
    checks: tuple[GateCheck, ...]


class TrainingRecord(_Record, frozen=True, kw_only=True):
    """How the weights came about. `config` is the whole configuration; `config_sha256` its hash;
    `cpu_s` are processor-seconds over all cores, None where they were not kept. `started_from` says
    which weights the fit began with, where they were not random, `taught_by` which published
    version it learnt from besides the labels; times are of this fit alone.
    """

    config: dict[str, Any]
    config_sha256: str
    preset: str
    seed: int
    parameters: int
    duration_s: float
    cpu_s: float | None = None
    hardware: str
    started_from: str = ""
    taught_by: str = ""


class DataRecord(_Record, frozen=True, kw_only=True, omit_defaults=True):
    """What the weights were fitted on. `sha256` is over the source as read.

    Of data that were joined, `parts` names each, the first one giving name and test split, and
    `sha256` is over their checksums.
    """

    name: str
    source: str
    sha256: str
    license: str = ""
    examples: dict[str, int] = msgspec.field(default_factory=dict)
    parts: tuple[DataRecord, ...] = ()


class Manifest(_Record, frozen=True, kw_only=True):
    """`manifest.json`: everything a reader must know before it runs the graph.

    `labels` (CNN, GAN) are class names in index order; `vocabulary` (LSTM) are characters in
    index order. `files` holds every other file of the folder. `graph` is the one to serve on a
    processor, `golden` belongs to `golden.npz`, and `variants` are all graphs of these weights; it
    is empty where there is one.
    """

    schema_version: int
    name: str
    kind: str
    version: str
    created_at: str
    description: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    labels: tuple[str, ...] = ()
    vocabulary: str = ""
    graph: str = GRAPH_FILE
    files: dict[str, FileDigest]
    golden: Golden
    variants: tuple[Variant, ...] = ()
    choice: Choice | None = None
    metrics: dict[str, float]
    gate: Gate
    training: TrainingRecord
    data: DataRecord
    code_revision: str
    libraries: dict[str, str]

    @property
    def graph_sha256(self) -> str:
        """Hash of the served graph: the model's digest, shown to clients."""
        return self.files[self.graph].sha256

    @property
    def served(self) -> Variant:
        """The variant that `graph` is."""
        for variant in self.variants:
            if variant.graph == self.graph:
                return variant
        return Variant(
            precision="float32", graph=self.graph, golden_file=GOLDEN_FILE, golden=self.golden
        )

    def serving(self, precision: Precision) -> Manifest:
        """The manifest with another variant's graph as the served one; itself if there is none."""
        for variant in self.variants:
            if variant.precision == precision:
                return msgspec.structs.replace(self, graph=variant.graph)
        return self

    def input(self, name: str) -> TensorSpec:
        """The input called `name`; raises ContractError if the graph has none."""
        return _named(self.inputs, name, f"{self.name}: input")

    def output(self, name: str) -> TensorSpec:
        """The output called `name`; raises ContractError if the graph has none."""
        return _named(self.outputs, name, f"{self.name}: output")


def _named(specs: tuple[TensorSpec, ...], name: str, what: str) -> TensorSpec:
    for spec in specs:
        if spec.name == name:
            return spec
    raise ContractError(f"{what} {name!r} is not among {[spec.name for spec in specs]}")


def check_name(name: str, what: str = "name") -> str:
    """Return `name`, or raise ContractError if it cannot name a model or a version."""
    if not NAME_PATTERN.fullmatch(name):
        raise ContractError(
            f"{what} {name!r} must be 1 to 64 of a-z, 0-9, '.', '_' and '-', "
            "and start and end with a letter or a digit"
        )
    return name


def encode_manifest(manifest: Manifest) -> bytes:
    """JSON, indented, keys in declaration order, with a final newline."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode_manifest(raw: bytes, *, where: str = MANIFEST_FILE) -> Manifest:
    """Parse and validate; raises ContractError that names the key.

    The schema version is looked at first, so that a manifest from the future is refused as such
    rather than for its unknown keys.
    """
    try:
        head = _head_decoder.decode(raw)
    except msgspec.MsgspecError as error:
        raise ContractError(f"{where} is not a manifest: {error}") from error
    if head.schema_version not in READABLE_VERSIONS:
        raise ContractError(
            f"{where} has schema_version {head.schema_version}; this release reads "
            f"{', '.join(map(str, READABLE_VERSIONS))}: upgrade the service or publish the model "
            "again"
        )
    try:
        manifest = _manifest_decoder.decode(raw)
    except msgspec.MsgspecError as error:
        raise ContractError(f"{where}: {error}") from error
    check_name(manifest.name, f"{where}: name")
    check_name(manifest.version, f"{where}: version")
    _check_variants(manifest, where)
    owned = [file for variant in manifest.variants for file in (variant.graph, variant.golden_file)]
    for required in (manifest.graph, GOLDEN_FILE, *owned):
        if required not in manifest.files:
            raise ContractError(f"{where}: files lacks {required!r}")
    for file in manifest.files:
        if not file or Path(file).name != file or file.startswith("."):
            raise ContractError(f"{where}: files has {file!r}, which is not a plain file name")
    return manifest


def _check_variants(manifest: Manifest, where: str) -> None:
    if manifest.schema_version == 1 and (manifest.variants or manifest.choice):
        raise ContractError(f"{where} has schema_version 1, which knows no variants")
    precisions = [variant.precision for variant in manifest.variants]
    if len(set(precisions)) != len(precisions):
        raise ContractError(f"{where}: variants has the same precision twice")
    if manifest.variants and manifest.graph not in [v.graph for v in manifest.variants]:
        raise ContractError(f"{where}: graph {manifest.graph!r} is not among variants")


class _Head(msgspec.Struct):
    schema_version: int


# Made here and not when first needed: models are loaded by several threads at once, and msgspec
# (0.22) ends the process when two of them meet a type for the first time together.
_head_decoder = msgspec.json.Decoder(_Head)
_manifest_decoder = msgspec.json.Decoder(Manifest)


def digest_file(path: Path) -> FileDigest:
    """SHA-256 and size of a file."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return FileDigest(sha256=sha256, bytes=path.stat().st_size)
