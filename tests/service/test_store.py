"""The store refuses what is not exactly what was published."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from service.contract import CURRENT_FILE, GRAPH_FILE, MANIFEST_FILE
from service.errors import ContractError
from service.store import Store
from tests.service.variants import copy_store, current_folder, set_current

NAME = "shakespeare"


@pytest.fixture
def store(tiny_store: Path, tmp_path: Path) -> Store:
    return copy_store(tiny_store, tmp_path / "store")


def verify(store: Store) -> None:
    store.verified(NAME, store.current(NAME))


def test_models_are_found_by_their_current_file(store: Store) -> None:
    (Path(store.home.location) / "nothing").mkdir()
    (Path(store.home.location) / "a-file").write_text("")
    assert store.names() == ["cifar10", "cifar10-gan", "shakespeare"]


def test_a_missing_store_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="TRIPTYCH_STORE"):
        Store(tmp_path / "nowhere").names()


def test_a_sound_version_is_verified(store: Store) -> None:
    manifest = store.verified(NAME, store.current(NAME))
    assert (manifest.name, manifest.kind) == (NAME, "lstm")


@pytest.mark.parametrize(
    "text", ["", "\n", "a\nb\n", "../cifar10", "/etc", "UPPER", "v1 ", "v1\n\n"]
)
def test_a_broken_current_is_refused(store: Store, text: str) -> None:
    set_current(store, NAME, text)
    with pytest.raises(ContractError, match=CURRENT_FILE):
        store.current(NAME)


def test_a_current_that_is_no_text_is_refused(store: Store) -> None:
    (Path(store.home.location) / NAME / CURRENT_FILE).write_bytes(b"\xff\xfe")
    with pytest.raises(ContractError, match="cannot be read"):
        store.current(NAME)


def test_a_missing_current_is_refused(store: Store) -> None:
    (Path(store.home.location) / NAME / CURRENT_FILE).unlink()
    with pytest.raises(ContractError, match="cannot be read"):
        store.current(NAME)


def test_a_current_without_its_folder_is_refused(store: Store) -> None:
    with pytest.raises(ContractError, match=MANIFEST_FILE):
        store.verified(NAME, "v404")


def test_a_changed_byte_is_found(store: Store) -> None:
    path = current_folder(store, NAME) / GRAPH_FILE
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ContractError, match=r"model\.onnx is not the file that was published"):
        verify(store)


def test_a_truncated_file_is_found(store: Store) -> None:
    path = current_folder(store, NAME) / "golden.npz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ContractError, match=r"golden\.npz is not the file that was published"):
        verify(store)


def test_a_missing_file_is_found(store: Store) -> None:
    (current_folder(store, NAME) / "card.md").unlink()
    with pytest.raises(ContractError, match=r"card\.md cannot be read"):
        verify(store)


def test_a_folder_under_another_name_is_refused(store: Store) -> None:
    current_folder(store, NAME).rename(Path(store.home.location) / NAME / "v2")
    with pytest.raises(ContractError, match="not of shakespeare v2"):
        store.verified(NAME, "v2")


@pytest.mark.anyio
async def test_a_replaced_current_is_noticed(store: Store) -> None:
    changes = store.changes()
    first = asyncio.ensure_future(anext(changes))
    version = store.current(NAME)
    # The watch begins in a thread: write until it is seen.
    while not first.done():
        set_current(store, NAME, version + "\n")
        await asyncio.wait([first], timeout=0.3)
    assert first.result() == {NAME}
    await changes.aclose()  # type: ignore[attr-defined]
