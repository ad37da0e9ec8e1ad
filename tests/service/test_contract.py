"""The manifest: what is written is read back, and what is wrong is named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.contract import (
    SCHEMA_VERSION,
    Manifest,
    check_name,
    decode_manifest,
    digest_file,
    encode_manifest,
)
from service.errors import ContractError
from service.store import Store
from tests.conftest import ROOT
from tests.service.variants import current_folder, read_manifest


@pytest.fixture(scope="module")
def manifest(tiny_store: Path) -> Manifest:
    return read_manifest(current_folder(Store(tiny_store), "shakespeare"))


@pytest.fixture
def content(manifest: Manifest) -> Any:
    return json.loads(encode_manifest(manifest))


def refused(content: Any) -> str:
    with pytest.raises(ContractError) as caught:
        decode_manifest(json.dumps(content).encode(), where="here/manifest.json")
    assert caught.value.message.startswith("here/manifest.json")
    return caught.value.message


def test_round_trip(manifest: Manifest) -> None:
    raw = encode_manifest(manifest)
    assert decode_manifest(raw) == manifest
    assert raw.endswith(b"}\n")
    assert raw.splitlines()[1] == f'  "schema_version": {SCHEMA_VERSION},'.encode()


AT_ONCE = """
import importlib, sys, threading
raw, barrier = sys.stdin.buffer.read(), threading.Barrier(4)
sys.setswitchinterval(1e-6)
for _ in range(80):
    sys.modules.pop("service.contract", None)
    contract = importlib.import_module("service.contract")  # its types are new
    def read():
        barrier.wait()
        contract.decode_manifest(raw)
    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_a_process_survives_reading_its_first_manifests_at_once(manifest: Manifest) -> None:
    """As a starting service does, which loads its models on threads."""
    raw = encode_manifest(manifest)
    subprocess.run([sys.executable, "-c", AT_ONCE], input=raw, cwd=ROOT, check=True, timeout=60)


def test_a_schema_from_the_future_is_refused_as_such(content: Any) -> None:
    content["schema_version"] = SCHEMA_VERSION + 1
    content["something_new"] = {}
    message = refused(content)
    assert f"schema_version {SCHEMA_VERSION + 1}" in message
    assert "upgrade" in message


@pytest.mark.parametrize("place", [(), ("gate",), ("training",), ("inputs", 0), ("golden",)])
def test_an_unknown_key_is_refused_wherever_it_is(content: Any, place: tuple[Any, ...]) -> None:
    target = content
    for key in place:
        target = target[key]
    target["unheard_of"] = 1
    assert "unheard_of" in refused(content)


@pytest.mark.parametrize("key", ["kind", "files", "golden", "gate", "training", "schema_version"])
def test_a_missing_key_is_named(content: Any, key: str) -> None:
    del content[key]
    assert key in refused(content)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema_version", "1"),
        ("labels", "cat"),
        ("metrics", {"accuracy": "high"}),
        ("inputs", [{"name": "x", "dtype": "float64", "shape": ["N"]}]),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(content: Any, key: str, value: Any) -> None:
    content[key] = value
    refused(content)


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", ".a", "a/b", "..", "a\n", "é", "a" * 65])
def test_a_bad_name_is_refused(content: Any, name: str) -> None:
    with pytest.raises(ContractError, match="model"):
        check_name(name, "model")
    for key in ("name", "version"):
        assert key in refused(content | {key: name})


@pytest.mark.parametrize("name", ["a", "cifar10", "20261123t201500-1a2b3c4d", "a.b_c-d", "a" * 64])
def test_a_good_name_is_returned(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("file", ["model.onnx", "golden.npz"])
def test_files_must_hold_graph_and_golden(content: Any, file: str) -> None:
    del content["files"][file]
    assert file in refused(content)


@pytest.mark.parametrize("file", ["../model.onnx", "/etc/passwd", ".hidden", "a/b", ""])
def test_files_must_be_plain_names(content: Any, file: str) -> None:
    content["files"][file] = content["files"]["model.onnx"]
    assert repr(file) in refused(content)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"{" * 100_000])
def test_what_is_not_a_manifest_is_refused(raw: bytes) -> None:
    with pytest.raises(ContractError, match=r"manifest\.json"):
        decode_manifest(raw)


def test_tensors_are_found_by_name(manifest: Manifest) -> None:
    assert manifest.input("token").dtype == "int64"
    assert manifest.output("logits").shape[0] == "N"
    with pytest.raises(ContractError, match="image"):
        manifest.input("image")
    with pytest.raises(ContractError, match="image"):
        manifest.output("image")


def test_digest_is_sha256_and_size(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    digest = digest_file(path)
    assert digest.bytes == 3
    # FIPS 180-2, appendix B.1.
    assert digest.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


VARIANTS = [
    {
        "precision": precision,
        "graph": graph,
        "golden_file": golden,
        "golden": {"rows": 8, "max_abs_error": {"logits": 0.1, "state_out": 0.1}},
        "metrics": {"val_loss_nats": 1.5},
        "rows_per_s": 1000.0,
    }
    for precision, graph, golden in (
        ("float32", "model.onnx", "golden.npz"),
        ("int8", "model.int8.onnx", "golden.int8.npz"),
    )
]


@pytest.fixture
def varied(content: Any) -> Any:
    """A manifest of two variants, the int8 one served."""
    files = content["files"]
    more = {"model.int8.onnx": files["golden.npz"], "golden.int8.npz": files["model.onnx"]}
    return content | {"variants": VARIANTS, "graph": "model.int8.onnx", "files": files | more}


def test_a_manifest_of_version_1_has_one_variant_in_float32(content: Any) -> None:
    content["schema_version"] = 1
    for key in ("variants", "choice"):
        content.pop(key, None)
    manifest = decode_manifest(json.dumps(content).encode())
    assert manifest.served.precision == "float32"
    assert (manifest.served.graph, manifest.served.golden_file) == ("model.onnx", "golden.npz")
    assert manifest.serving("int8") is manifest
    content["variants"] = VARIANTS[:1]
    assert "schema_version 1" in refused(content)


def test_checks_of_version_2_had_no_test(content: Any) -> None:
    content["schema_version"] = 2
    for check in content["gate"]["checks"]:
        for key in ("test", "p_value", "worse", "better", "examples", "note"):
            check.pop(key, None)
    (check, *_) = decode_manifest(json.dumps(content).encode()).gate.checks
    assert (check.test, check.p_value, check.note) == ("", None, "")


def test_the_served_variant_is_the_graph_that_is_named(varied: Any) -> None:
    manifest = decode_manifest(json.dumps(varied).encode())
    assert manifest.served.precision == "int8"
    assert manifest.served.golden_file == "golden.int8.npz"
    other = manifest.serving("float32")
    assert other.served.golden_file == "golden.npz"
    assert other.graph_sha256 == manifest.files["model.onnx"].sha256 != manifest.graph_sha256


@pytest.mark.parametrize("file", ["model.int8.onnx", "golden.int8.npz"])
def test_files_must_hold_every_variant(varied: Any, file: str) -> None:
    del varied["files"][file]
    assert file in refused(varied)


def test_variants_must_be_told_apart_and_hold_the_served_one(varied: Any) -> None:
    assert "model.int8.onnx" in refused(varied | {"variants": VARIANTS[:1]})
    assert "twice" in refused(varied | {"variants": [*VARIANTS, VARIANTS[1]]})
