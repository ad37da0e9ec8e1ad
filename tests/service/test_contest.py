"""Versions on trial: who answers, what is seen, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from service.contract import GRAPH_FILE
from service.errors import UnknownNameError
from service.kinds.cnn import Cnn
from service.loading import golden
from service.registry import Registry
from service.request_key import HEADERS
from service.scoreboard import Scores
from service.session import Session
from service.store import Store
from service.store.audit import Audit
from service.store.publisher import Publisher
from service.store.trial import Mode, Trial, read_trial, scores_folder
from tests.service.variants import move_weights, publish_variant, write_golden

pytestmark = pytest.mark.anyio
NAME = "cifar10"


@pytest.fixture
async def registry(registry: Registry) -> Registry:
    await registry.open()
    return registry


@pytest.fixture
def begin(store: Store, registry: Registry, tmp_path: Path) -> Callable[..., object]:
    """Publish v2, go back, and put it on trial."""

    async def start(
        mode: Mode, *, change: Callable[[Path], None] | None = None, **how: float
    ) -> Trial:
        before = store.current(NAME)
        publish_variant(store, NAME, "v2", tmp_path, change=change)
        publisher = Publisher(store)
        publisher.promote(NAME, before)
        options = {"share": 0.5, "window_s": 60.0, "least_requests": 20} | how
        trial = publisher.start_trial(
            NAME,
            "v2",
            mode,
            share=options["share"],
            window_s=options["window_s"],
            least_requests=int(options["least_requests"]),
        )
        assert await registry.refresh(NAME)
        return trial

    return start


async def ask(registry: Registry, key: str, seed: int = 0, model: str = NAME) -> str:
    """Classify as the caller `key`; the version that answered."""
    image = np.random.default_rng(seed).integers(0, 256, (32, 32, 3)).astype(np.uint8)

    async def one() -> str:
        HEADERS.set([(b"x-request-key", key.encode())])
        with registry.lease(Cnn, model) as cnn:
            size = image[: cnn.size[0], : cnn.size[1]]
            await cnn.classify([size], explain=False, deadline_s=10)
            return cnn.manifest.version

    return await asyncio.create_task(one())


async def over(store: Store, registry: Registry) -> Trial:
    """Go on asking until the trial has its verdict."""
    async with asyncio.timeout(30):
        turn = 0
        while True:
            turn += 1
            await ask(registry, f"caller-{turn}", seed=turn)
            trial, _ = read_trial(store.home, NAME)
            assert trial is not None
            log = Audit(store.home, NAME).entries()
            if log[-1].action in ("trial passed", "trial failed"):  # written last
                await registry.refresh(NAME)
                return trial


def invert(folder: Path) -> None:
    """Give the graph weights that answer otherwise."""
    model = onnx.load(folder / GRAPH_FILE)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.ndim == 2:
            tensor.CopyFrom(numpy_helper.from_array(-20 * array, tensor.name))
    onnx.save(model, folder / GRAPH_FILE)
    inputs, outputs = golden(folder)
    write_golden(folder, inputs, Session(folder / GRAPH_FILE).run(inputs, list(outputs)))


async def test_a_canary_answers_its_share_and_the_same_callers_always(
    registry: Registry, store: Store, begin: Callable[..., object]
) -> None:
    await begin("canary", share=0.3)  # type: ignore[misc]
    first = {key: await ask(registry, f"caller-{key}") for key in range(200)}
    assert 30 <= list(first.values()).count("v2") <= 95  # 60 expected, of deviation 6.5
    for key in range(40):
        assert await ask(registry, f"caller-{key}") == first[key]
    assert store.current(NAME) != "v2"


async def test_who_is_a_canary_caller_stays_one_with_a_larger_share(
    registry: Registry, store: Store, begin: Callable[..., object]
) -> None:
    await begin("canary", share=0.2)  # type: ignore[misc]
    chosen = [key for key in range(100) if await ask(registry, f"caller-{key}") == "v2"]
    assert chosen
    trial, blob = read_trial(store.home, NAME)
    assert trial is not None
    assert blob is not None
    publisher = Publisher(store)
    publisher.end_trial(NAME, trial, blob, "trial stopped", "more")
    publisher.start_trial(NAME, "v2", "canary", share=0.6, window_s=60, least_requests=20)
    await registry.refresh(NAME)
    assert {await ask(registry, f"caller-{key}") for key in chosen} == {"v2"}


async def test_a_canary_that_does_well_is_promoted(
    registry: Registry, store: Store, begin: Callable[..., object]
) -> None:
    await begin("canary", window_s=1.0)  # type: ignore[misc]
    ended = await over(store, registry)
    assert ended.state == "passed"
    assert "100.0%" in ended.reason
    assert store.current(NAME) == "v2"
    assert await ask(registry, "anybody") == "v2"
    actions = [entry.action for entry in Audit(store.home, NAME).entries()]
    assert actions[1:] == ["published", "promoted", "trial started", "promoted", "trial passed"]


async def test_a_canary_that_answers_otherwise_is_taken_back(
    registry: Registry, store: Store, begin: Callable[..., object]
) -> None:
    before = store.current(NAME)
    await begin("canary", change=invert)  # type: ignore[misc]
    ended = await over(store, registry)
    assert ended.state == "failed"
    assert "agrees on" in ended.reason or "confidence" in ended.reason
    assert store.current(NAME) == before
    assert {await ask(registry, f"caller-{key}") for key in range(20)} == {before}
    assert Audit(store.home, NAME).entries()[-1].action == "trial failed"


async def test_a_canary_that_fails_is_taken_back(
    registry: Registry, store: Store, begin: Callable[..., object]
) -> None:
    before = store.current(NAME)
    await begin("canary", share=0.1, least_requests=10_000)  # type: ignore[misc]

    async def ask_and_fail(key: str) -> None:
        HEADERS.set([(b"x-request-key", key.encode())])
        with registry.lease(Cnn, NAME) as cnn:
            if cnn.manifest.version == "v2":
                raise RuntimeError("the graph failed")

    async with asyncio.timeout(30):
        turn = 0
        while True:
            turn += 1
            await asyncio.gather(
                asyncio.create_task(ask_and_fail(f"caller-{turn}")), return_exceptions=True
            )
            await asyncio.sleep(0.01)
            ended, _ = read_trial(store.home, NAME)
            assert ended is not None
            if not ended.running:
                break
    assert ended.state == "failed"
    assert "errors in" in ended.reason
    assert store.current(NAME) == before


async def test_a_shadow_answers_nobody_and_is_compared(
    registry: Registry, store: Store, begin: Callable[..., object]
) -> None:
    before = store.current(NAME)
    await begin("shadow", share=1.0, window_s=1.0)  # type: ignore[misc]
    assert {await ask(registry, f"caller-{key}") for key in range(20)} == {before}
    ended = await over(store, registry)
    assert ended.state == "passed"
    assert "answered alike" in ended.reason
    assert store.current(NAME) == before, "a shadow is looked at, and not promoted"


async def test_a_version_on_trial_can_be_asked_for_by_name(
    registry: Registry, store: Store, begin: Callable[..., object]
) -> None:
    before = store.current(NAME)
    await begin("shadow", change=move_weights)  # type: ignore[misc]
    assert [(one.name, one.role) for one in registry.versions(NAME)] == [
        (before, "served"),
        ("v2", "shadow"),
    ]
    for version in ("v2", before):
        for lease in (
            registry.lease(Cnn, f"{NAME}@{version}"),
            registry.lease_any(f"{NAME}@{version}"),
            registry.lease_any(NAME, version),
        ):
            with lease as engine:
                assert engine.manifest.version == version


@pytest.mark.parametrize("version", ["v3", "", "v2@v2"])
async def test_a_version_that_cannot_be_had_is_refused_with_those_that_can(
    registry: Registry, store: Store, begin: Callable[..., object], version: str
) -> None:
    told = f"{NAME} serves version {store.current(NAME)}"
    with pytest.raises(UnknownNameError, match=f"{told}, not '{version}'") as refused:
        registry.lease(Cnn, f"{NAME}@{version}")
    assert refused.value.field == "model"
    await begin("canary")  # type: ignore[misc]
    told = rf"{told} and has v2 on trial \(canary\), not '{version}'"
    with pytest.raises(UnknownNameError, match=told):
        registry.lease(Cnn, f"{NAME}@{version}")
    with pytest.raises(UnknownNameError, match=told):
        registry.lease_any(f"{NAME}@{version}")
    with pytest.raises(UnknownNameError, match="there is no cnn called 'nobody'"):
        registry.lease(Cnn, "nobody@v2")


async def reported(store: Store, enough: Callable[[Scores], bool]) -> Scores:
    """What the worker has left in the store of its trial, once it is enough."""
    home, folder = store.home, scores_folder(NAME)
    async with asyncio.timeout(20):
        while True:
            for file in home.entries(folder):
                blob = home.read(f"{folder}/{file}")
                assert blob is not None
                scores = msgspec.json.decode(blob.content, type=Scores)
                if enough(scores):
                    return scores
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("mode", ["canary", "shadow"])
async def test_who_names_a_version_is_no_part_of_the_trial(
    registry: Registry, store: Store, begin: Callable[..., object], mode: Mode
) -> None:
    names = (store.current(NAME), "v2")
    await begin(mode, share=1.0, window_s=10.0, least_requests=1000)  # type: ignore[misc]
    for turn in range(10):
        for version in names:
            assert await ask(registry, f"caller-{turn}", turn, f"{NAME}@{version}") == version
    assert await reported(store, lambda _: True) == Scores()
    for turn in range(5):  # fewer than may be compared at once: none is left out
        await ask(registry, f"caller-{turn}", turn)
    seen = await reported(store, lambda it: it.candidate.requests >= 5 and it.compared_rows >= 5)
    assert seen.candidate.requests == seen.compared_rows == 5


async def test_a_broken_candidate_never_answers(
    registry: Registry, store: Store, tmp_path: Path
) -> None:
    before = store.current(NAME)
    publish_variant(store, NAME, "v2", tmp_path)
    publisher = Publisher(store)
    publisher.promote(NAME, before)
    publisher.start_trial(NAME, "v2", "canary", share=1.0, window_s=60, least_requests=1)
    (store.folder(NAME, "v2") / GRAPH_FILE).write_bytes(b"broken")
    assert not await registry.refresh(NAME)
    assert "v2" in registry.problems[NAME]
    assert {await ask(registry, f"caller-{key}") for key in range(10)} == {before}


async def test_a_trial_is_over_when_another_version_is_served(
    registry: Registry, store: Store, begin: Callable[..., object], tmp_path: Path
) -> None:
    await begin("canary", share=1.0)  # type: ignore[misc]
    assert await ask(registry, "anybody") == "v2"
    publish_variant(store, NAME, "v3", tmp_path)
    assert await registry.refresh(NAME)
    assert {await ask(registry, f"caller-{key}") for key in range(10)} == {"v3"}
