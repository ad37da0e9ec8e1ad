"""Every way in which a version can be broken: it is never served, and the one before goes on."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from service.contract import CURRENT_FILE, GOLDEN_FILE, GRAPH_FILE, MANIFEST_FILE
from service.kinds.cnn import Cnn
from service.lanes import Lanes
from service.registry import Registry
from service.runtime import open_store
from service.settings import Settings
from service.store import Store
from service.store.publisher import Publisher
from tests.service.variants import publish_variant
from training.publish import SIGNING_KEY

pytestmark = pytest.mark.anyio
NAME = "cifar10"


def truncate(folder: Path) -> None:
    path = folder / GRAPH_FILE
    path.write_bytes(path.read_bytes()[:-100])


def flip(folder: Path) -> None:
    raw = bytearray((folder / GRAPH_FILE).read_bytes())
    raw[len(raw) // 2] ^= 4
    (folder / GRAPH_FILE).write_bytes(raw)


def swap_hash(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    manifest["files"][GRAPH_FILE]["sha256"] = "0" * 64
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))


def come_from_the_future(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    manifest |= {"schema_version": 99, "quantum": True}
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))


def lose_manifest(folder: Path) -> None:
    (folder / MANIFEST_FILE).unlink()


def lose_graph(folder: Path) -> None:
    (folder / GRAPH_FILE).unlink()


DAMAGES = {
    "truncated": (truncate, "is not the file that was published"),
    "bit-flipped": (flip, "is not the file that was published"),
    "hash-mismatched": (swap_hash, "is not the file that was published"),
    "from the future": (come_from_the_future, "schema_version 99"),
    "without manifest": (lose_manifest, "cannot be read"),
    "without graph": (lose_graph, "cannot be read"),
}


def version_of(registry: Registry) -> str:
    with registry.lease(Cnn, NAME) as engine:
        return engine.manifest.version


def drift(folder: Path) -> None:
    """Golden outputs that the graph does not give."""
    with np.load(folder / GOLDEN_FILE) as archive:
        arrays = {key: archive[key] for key in archive.files}
    key = "output.probability"
    arrays[key] = np.roll(arrays[key], 1, axis=-1)
    np.savez(folder / GOLDEN_FILE, allow_pickle=False, **arrays)


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_version_is_never_served(
    registry: Registry, store: Store, tmp_path: Path, damage: str
) -> None:
    await registry.open()
    before = store.current(NAME)
    folder = publish_variant(store, NAME, "v2", tmp_path)
    harm, reason = DAMAGES[damage]
    harm(folder)
    assert not await registry.refresh(NAME)
    assert reason in registry.problems[NAME]
    assert version_of(registry) == before
    publish_variant_again(store, tmp_path, before)
    assert await registry.refresh(NAME), "a sound version after it is served"
    assert registry.problems == {}
    assert version_of(registry) == "v3"


def publish_variant_again(store: Store, tmp_path: Path, source: str) -> None:
    """From the sound version: the current one is damaged."""
    Publisher(store).promote(NAME, source)
    publish_variant(store, NAME, "v3", tmp_path)


async def test_a_version_whose_outputs_drifted_is_never_served(
    registry: Registry, store: Store, tmp_path: Path
) -> None:
    await registry.open()
    before = store.current(NAME)
    publish_variant(store, NAME, "v2", tmp_path, change=drift)
    assert not await registry.refresh(NAME)
    assert "golden output probability differs by" in registry.problems[NAME]
    assert version_of(registry) == before


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_new_process_serves_the_last_good_version(
    registry: Registry, store: Store, tmp_path: Path, damage: str
) -> None:
    before = store.current(NAME)
    publish_variant(store, NAME, "v2", tmp_path)
    DAMAGES[damage][0](publish_variant(store, NAME, "v3", tmp_path))
    await registry.open()
    assert registry.ready
    assert version_of(registry) == "v2"
    assert "v3" in registry.problems[NAME]
    (store.folder(NAME, "v2") / GRAPH_FILE).write_bytes(b"broken too")
    lanes = Lanes(1)
    other = Registry(Settings(store=store.home.location, max_batch_rows=4), store, lanes)
    await other.open()
    assert version_of(other) == before
    await other.close()
    lanes.close()


async def test_nothing_is_served_where_nothing_is_sound(
    registry: Registry, store: Store, tmp_path: Path
) -> None:
    for version in store.versions(NAME):
        (store.folder(NAME, version) / GRAPH_FILE).write_bytes(b"x")
    await registry.open()
    assert not registry.ready
    assert NAME in registry.problems


@pytest.mark.parametrize("text", ["", "v404\n", "../x\n", "a\nb\n"])
async def test_a_broken_current_changes_nothing(
    registry: Registry, store: Store, text: str, write: Callable[[str], None]
) -> None:
    await registry.open()
    before = version_of(registry)
    write(text)
    assert not await registry.refresh(NAME)
    assert version_of(registry) == before
    assert NAME in registry.problems


@pytest.fixture
def write(store: Store) -> Callable[[str], None]:
    def text(content: str) -> None:
        (Path(store.home.location) / NAME / CURRENT_FILE).write_text(content)

    return text


@pytest.fixture
def key_pair(tmp_path: Path) -> tuple[Path, Path]:
    """A private key and its public half."""
    key, public = tmp_path / "key.pem", tmp_path / "key.pub"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True)
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True)
    return key, public


async def test_a_service_with_a_key_serves_signed_versions_alone(
    store: Store, tmp_path: Path, key_pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    key, public = key_pair
    with monkeypatch.context() as patch:
        patch.setenv(SIGNING_KEY, str(key))
        publish_variant(store, NAME, "v2", tmp_path)
    settings = Settings(store=store.home.location, max_batch_rows=4, public_key=str(public))
    lanes = Lanes(1)
    registry = Registry(settings, open_store(settings), lanes)
    await registry.open()
    assert version_of(registry) == "v2"
    assert "is not signed" in registry.problems["shakespeare"]
    assert not registry.ready
    publish_variant(store, NAME, "v3", tmp_path)
    assert not await registry.refresh(NAME)
    assert "v3 was not signed with" in registry.problems[NAME], "v2's signature is not its own"
    assert version_of(registry) == "v2"
    await registry.close()
    lanes.close()
