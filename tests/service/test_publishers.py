"""Publishers that die or meet in a bucket, and stores that come back old."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest

from service.errors import StoreConflictError
from service.kinds.cnn import Cnn
from service.registry import Registry
from service.store import Store, open_home
from service.store.audit import Audit
from service.store.publisher import Publisher
from tests.bucket import keys, new_bucket, raw, s3_server
from tests.service.variants import publish_variant
from tests.training.candidates import make_candidate

NAME = "insects"
PROCESSES = multiprocessing.get_context("forkserver")


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    with s3_server() as variables:
        yield variables


@pytest.fixture
def bucket(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    return new_bucket(s3)


def _publish(
    location: str, candidate: Path, cache: Path, variables: dict[str, str], die_at: int
) -> None:
    """Publish, and be killed at the given put; exit code 7 says that another was quicker."""
    os.environ.update(variables)
    put, steps = obstore.put, itertools.count()

    def put_or_die(*arguments: Any, **options: Any) -> Any:
        if next(steps) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return put(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(obstore, "put", put_or_die)
        try:
            Publisher(Store(open_home(location, cache_dir=cache))).publish(candidate, NAME)
        except StoreConflictError:
            os._exit(7)


def test_a_publisher_killed_at_any_put_leaves_a_whole_version_served(
    bucket: str, s3: dict[str, str], tmp_path: Path
) -> None:
    store = Store(open_home(bucket, cache_dir=tmp_path / "cache"))
    Publisher(store).publish(make_candidate(tmp_path / "first", NAME, "first"), NAME)
    served = []
    for step in itertools.count():
        version = f"v{step}"
        candidate = make_candidate(tmp_path / version, NAME, version)
        before = store.current(NAME)
        process = PROCESSES.Process(
            target=_publish, args=(bucket, candidate, tmp_path / "other", s3, step)
        )
        process.start()
        process.join()
        current = store.current(NAME)
        assert current in (before, version)
        assert store.verified(NAME, current).version == current
        for whole in store.versions(NAME):
            store.verified(NAME, whole)
        Audit(store.home, NAME).entries()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        served.append(current == version)
        Publisher(store).sweep(NAME, older_than_s=0)
        halves = [key for key in keys(raw(bucket, s3)) if f"/{version}/" in key]
        assert halves == [] or version in store.versions(NAME)
    # Four files, the manifest, CURRENT; then the log.
    assert served == [False] * 6 + [True]


def test_publishers_at_once_leave_one_served_and_all_whole(
    bucket: str, s3: dict[str, str], tmp_path: Path
) -> None:
    store = Store(open_home(bucket, cache_dir=tmp_path / "cache"))
    Publisher(store).publish(make_candidate(tmp_path / "first", NAME, "first"), NAME)
    names = [f"v{number}" for number in range(4)]
    processes = [
        PROCESSES.Process(
            target=_publish,
            args=(bucket, make_candidate(tmp_path / name, NAME, name), tmp_path / name, s3, -1),
        )
        for name in names
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    codes = {process.exitcode for process in processes}
    assert codes <= {0, 7}
    assert 0 in codes
    assert store.current(NAME) in names
    for version in store.versions(NAME):
        store.verified(NAME, version)
    entries = [e for e in Audit(store.home, NAME).entries() if e.version != "first"]
    assert len(entries) == [process.exitcode for process in processes].count(0)
    befores = [entry.before for entry in entries]
    assert len(set(befores)) == len(befores), "each replaced a version of its own"


@pytest.mark.anyio
async def test_a_store_that_comes_back_old_is_followed_and_written_to(
    registry: Registry, tmp_path: Path
) -> None:
    name, folder = "cifar10", tmp_path / "store"
    store = Store(folder)
    first = store.current(name)
    shutil.copytree(folder, tmp_path / "backup")
    publish_variant(store, name, "v2", tmp_path)
    await registry.open()
    assert served(registry) == "v2"
    shutil.rmtree(folder)
    assert not await registry.refresh(name), "while it is gone"
    assert served(registry) == "v2"
    shutil.copytree(tmp_path / "backup", folder)
    assert await registry.refresh(name)
    assert served(registry) == first, "what the store says is whole and verified, if old"
    publish_variant(store, name, "v3", tmp_path)
    assert await registry.refresh(name)
    assert served(registry) == "v3"
    assert [entry.version for entry in Audit(store.home, name).entries()] == [first, "v3"]


def served(registry: Registry) -> str:
    with registry.lease(Cnn, "cifar10") as engine:
        return engine.manifest.version
