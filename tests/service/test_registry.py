"""Versions take over from each other without a request noticing."""

from __future__ import annotations

import asyncio
import gc
import weakref
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from service.errors import NotReadyError, UnknownNameError
from service.kinds import kinds
from service.kinds.base import Kind
from service.kinds.cnn import Cnn
from service.kinds.lstm import Lstm
from service.lanes import Lanes
from service.registry import Registry
from service.sampling import SamplingParameters
from service.sequences import Prompt
from service.settings import Settings
from service.store import Store
from tests.service.variants import current_folder, publish_variant, set_current

pytestmark = pytest.mark.anyio


def version_of(registry: Registry, kind: type[Kind]) -> str:
    with registry.lease(kind, None) as engine:
        return engine.manifest.version


def failures(name: str) -> float:
    return REGISTRY.get_sample_value("triptych_model_load_failures_total", {"model": name}) or 0.0


async def test_all_models_are_served_once_open(registry: Registry) -> None:
    assert not registry.ready
    with pytest.raises(NotReadyError), registry.lease(Cnn, None):
        pass
    await registry.open()
    assert registry.ready
    assert registry.problems == {}
    assert [engine.manifest.name for engine in registry.engines()] == [
        "cifar10", "cifar10-gan", "shakespeare",
    ]  # fmt: skip
    for kind in kinds().values():
        with registry.lease(kind, None) as engine:
            assert type(engine) is kind


async def test_models_are_leased_by_name_and_kind(registry: Registry) -> None:
    await registry.open()
    with registry.lease(Cnn, "cifar10") as cnn:
        assert cnn.manifest.name == "cifar10"
    with (
        pytest.raises(
            UnknownNameError, match="no cnn called 'nobody'; there is: cifar10"
        ) as caught,
        registry.lease(Cnn, "nobody"),
    ):
        pass
    assert caught.value.field == "model"
    with (
        pytest.raises(UnknownNameError, match="shakespeare is a lstm, not a cnn"),
        registry.lease(Cnn, "shakespeare"),
    ):
        pass


async def test_the_first_model_of_a_kind_is_the_default(
    registry: Registry, store: Store, tmp_path: Path
) -> None:
    current_folder(store, "cifar10").parent.rename(Path(store.home.location) / "b-model")
    publish_as(store, "b-model", "a-model")
    publish_as(store, "b-model", "b-model")
    await registry.open()
    with registry.lease(Cnn, None) as cnn:
        assert cnn.manifest.name == "a-model"
    with registry.lease(Cnn, "b-model") as cnn:
        assert cnn.manifest.name == "b-model"


def publish_as(store: Store, source: str, name: str) -> None:
    """Copy a model's version under another name: its manifest says the new name."""
    version = store.current(source)
    folder = Path(store.home.location) / name / version
    raw = (Path(store.home.location) / source / version / "manifest.json").read_text()
    if name != source:
        folder.parent.mkdir()
        folder.mkdir()
        for path in (Path(store.home.location) / source / version).iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
    (folder / "manifest.json").write_text(raw.replace('"name": "cifar10"', f'"name": "{name}"', 1))
    set_current(store, name, version)


async def test_a_swap_leaves_leases_on_the_old_version(
    registry: Registry, store: Store, tmp_path: Path
) -> None:
    await registry.open()
    old = store.current("shakespeare")
    prompt = Prompt((1, 2), 5, SamplingParameters(), seed=1, row=0)
    with registry.lease(Lstm, None) as before:
        publish_variant(store, "shakespeare", "v2", tmp_path)
        assert await registry.refresh("shakespeare")
        assert version_of(registry, Lstm) == "v2"
        assert before.manifest.version == old
        stream = before.stepper.submit(prompt)  # the old engine is not closed
        assert len([one async for batch in stream for one in batch]) == 5
        await asyncio.sleep(0.05)
        before.stepper.submit(prompt).cancel()
    for _ in range(100):
        await asyncio.sleep(0.01)
        try:
            before.stepper.submit(prompt)
        except NotReadyError:
            break
    else:
        pytest.fail("the old engine was not closed when its last lease ended")


async def test_a_swap_without_leases_closes_the_old_version(
    registry: Registry, store: Store, tmp_path: Path
) -> None:
    await registry.open()
    with registry.lease(Lstm, None) as before:
        pass
    publish_variant(store, "shakespeare", "v2", tmp_path)
    await registry.refresh("shakespeare")
    for _ in range(100):
        await asyncio.sleep(0.01)
        try:
            before.stepper.submit(Prompt((1,), 1, SamplingParameters(), seed=1, row=0))
        except NotReadyError:
            return
    pytest.fail("the old engine was not closed")


@pytest.mark.parametrize("name", ["cifar10", "cifar10-gan", "shakespeare"])
async def test_an_old_version_needs_no_collector_to_be_gone(
    registry: Registry, store: Store, tmp_path: Path, name: str
) -> None:
    """The collector seldom looks, and a session is megabytes."""
    await registry.open()
    gc.collect()
    gc.disable()
    try:
        parts = {
            engine.manifest.name: [
                weakref.ref(part)
                for part in (engine, engine.batcher, getattr(engine, "stepper", engine))
            ]
            for engine in registry.engines()
        }
        publish_variant(store, name, "v2", tmp_path)
        assert await registry.refresh(name)
        for _ in range(100):
            if not any(part() for part in parts[name]):
                break
            await asyncio.sleep(0.05)  # it is closed on a thread
        assert {one: [part() is None for part in parts[one]] for one in parts} == {
            one: [one == name] * 3 for one in parts
        }
    finally:
        gc.enable()


async def test_refreshing_the_same_version_changes_nothing(registry: Registry) -> None:
    await registry.open()
    with registry.lease(Cnn, None) as before:
        pass
    assert await registry.refresh("cifar10")
    with registry.lease(Cnn, None) as after:
        assert after is before


async def test_a_broken_version_keeps_the_old_one(
    registry: Registry, store: Store, tmp_path: Path
) -> None:
    await registry.open()
    old = store.current("cifar10")
    counted = failures("cifar10")
    folder = publish_variant(store, "cifar10", "v2", tmp_path)
    (folder / "model.onnx").write_bytes(b"broken")
    assert not await registry.refresh("cifar10")
    assert version_of(registry, Cnn) == old
    assert registry.ready
    assert "not the file that was published" in registry.problems["cifar10"]
    assert failures("cifar10") == counted + 1
    set_current(store, "cifar10", old)
    assert await registry.refresh("cifar10")
    assert registry.problems == {}
    publish_variant(store, "cifar10", "v3", tmp_path)
    assert await registry.refresh("cifar10")
    assert version_of(registry, Cnn) == "v3"


async def test_a_model_that_is_broken_from_the_start_is_not_ready(
    registry: Registry, store: Store
) -> None:
    path = current_folder(store, "cifar10") / "model.onnx"
    sound = path.read_bytes()
    path.write_bytes(sound[:-1])
    await registry.open()
    assert not registry.ready
    assert set(registry.problems) == {"cifar10"}
    with pytest.raises(NotReadyError), registry.lease(Cnn, "cifar10"):
        pass
    with registry.lease(Lstm, None):
        pass
    path.write_bytes(sound)
    assert await registry.refresh("cifar10")
    assert registry.ready


async def test_a_model_of_an_unknown_kind_is_refused(
    registry: Registry, store: Store, tmp_path: Path
) -> None:
    publish_variant(store, "cifar10", "v2", tmp_path, kind="transformer")
    await registry.open()
    assert "known kinds: cnn, gan, lstm" in registry.problems["cifar10"]


async def test_a_new_model_is_served_when_it_is_published(store: Store, registry: Registry) -> None:
    hidden = Path(store.home.location).parent / "hidden"
    (Path(store.home.location) / "shakespeare").rename(hidden)
    await registry.open()
    with pytest.raises(UnknownNameError, match="no lstm"), registry.lease(Lstm, None):
        pass
    hidden.rename(Path(store.home.location) / "shakespeare")
    assert await registry.refresh("shakespeare")
    with registry.lease(Lstm, "shakespeare"):
        pass
    assert registry.ready


async def test_an_empty_store_becomes_ready_with_its_first_model(
    store: Store, registry: Registry
) -> None:
    for name in store.names():
        (Path(store.home.location) / name).rename(Path(store.home.location).parent / name)
    await registry.open()
    assert not registry.ready
    assert "no model is published" in registry.problems["store"]
    (Path(store.home.location).parent / "cifar10").rename(Path(store.home.location) / "cifar10")
    assert await registry.refresh("cifar10")
    assert registry.ready
    assert registry.problems == {}


async def test_a_missing_store_is_a_problem_that_is_shown(tmp_path: Path) -> None:
    lanes = Lanes(1)
    registry = Registry(Settings(), Store(tmp_path / "nowhere"), lanes)
    await registry.open()
    assert not registry.ready
    assert "TRIPTYCH_STORE" in registry.problems["store"]
    await registry.close()
    lanes.close()


async def test_a_replaced_current_is_followed(
    registry: Registry, store: Store, tmp_path: Path
) -> None:
    await registry.open()
    following = asyncio.ensure_future(registry.follow())
    await asyncio.sleep(0.3)  # the watch begins in a thread
    publish_variant(store, "cifar10", "v2", tmp_path)
    for _ in range(500):
        if version_of(registry, Cnn) == "v2":
            break
        await asyncio.sleep(0.02)
    assert version_of(registry, Cnn) == "v2"
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
