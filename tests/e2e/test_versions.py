"""Requests that name a version: what they get is of that version alone, whatever is on trial."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from service.store import Store
from service.store.publisher import Publisher
from service.store.trial import Mode
from tests.e2e.load import FILES, TEXT, read_headers, read_json, read_stream
from tests.e2e.server import Server, serving
from tests.e2e.test_cache import hits
from tests.e2e.test_metrics import scrape
from tests.e2e.test_websocket import Client, connected, text_of
from tests.pictures import picture
from tests.service.test_feedback import read
from tests.service.variants import copy_store, move_weights, publish_variant
from triptych.cli import main
from triptych.client import Client as PythonClient
from triptych.client import NotFoundError

TRIALS: dict[str, Mode] = {"cifar10": "canary", "cifar10-gan": "shadow", "shakespeare": "canary"}
SHARE = 0.5


@pytest.fixture(scope="module")
def stores(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Store]:
    """One with v2 of every model on trial, and one that serves v2."""
    scratch = tmp_path_factory.mktemp("versions")
    trying = copy_store(tiny_store, scratch / "trying")
    before = {name: trying.current(name) for name in TRIALS}
    for name in TRIALS:
        publish_variant(trying, name, "v2", scratch, change=move_weights)
    alone = copy_store(scratch / "trying", scratch / "alone")
    publisher = Publisher(trying)
    for name, mode in TRIALS.items():
        publisher.promote(name, before[name])
        publisher.start_trial(name, "v2", mode, share=SHARE, window_s=3600, least_requests=10**6)
    return trying, alone


@pytest.fixture(scope="module")
def trying(
    stores: tuple[Store, Store], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("trying")
    with serving(Path(stores[0].home.location), home, workers=1, cache_mib=4) as running:
        running.wait_for("/readyz", 200)
        yield running


@pytest.fixture(scope="module")
def alone(
    stores: tuple[Store, Store], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("alone")
    with serving(Path(stores[1].home.location), home, workers=1) as running:
        running.wait_for("/readyz", 200)
        yield running


def in_query(path: str, **options: Any) -> Callable[[Server, str], httpx.Response]:
    return lambda server, model: server.post(path, params={"model": model}, **options)


def in_body(path: str, **asked: Any) -> Callable[[Server, str], httpx.Response]:
    return lambda server, model: server.post(path, json={**asked, "model": model})


def in_form(path: str) -> Callable[[Server, str], httpx.Response]:
    return lambda server, model: server.post(path, files=FILES, data={"model": model})


ROUTES: dict[str, tuple[str, Any, Any]] = {
    "classify": ("cifar10", in_query("/v1/classify", content=picture(1)), read_json),
    "classify many": ("cifar10", in_query("/v1/classify", files=FILES), read_json),
    "completion": ("shakespeare", in_body("/v1/completions", **TEXT), read_json),
    "stream": ("shakespeare", in_body("/v1/completions", **TEXT, stream=True), read_stream),
    "sample": ("cifar10-gan", in_body("/v1/sample", n=5, seed=1), read_headers),
    "picture": (
        "cifar10-gan", in_body("/v1/images/generations", prompt="a cat", seed=1), read_json,
    ),
    "tokenize": ("shakespeare", in_body("/v1/tokenize", prompt="The "), read_json),
    "bento classify": ("cifar10", in_form("/classify"), read_json),
    "bento generate": ("shakespeare", in_body("/generate", **TEXT), read_json),
    "bento sample": ("cifar10-gan", in_body("/sample", n=2, seed=1), read_json),
}  # fmt: skip


@pytest.mark.parametrize("route", ROUTES)
def test_a_named_version_answers_as_it_does_alone(
    trying: Server, alone: Server, stores: tuple[Store, Store], route: str
) -> None:
    name, ask, read_answer = ROUTES[route]
    served = stores[0].current(name)
    version, expected = read_answer(ask(alone, name))
    assert version == "v2"
    for _ in range(2):  # the second time from the cache
        for wanted in ("v2", served):
            answer = ask(trying, f"{name}@{wanted}")
            assert answer.status_code == 200, answer.text
            version, content = read_answer(answer)
            assert version == wanted
            if route != "tokenize":  # their vocabulary is the same
                assert (content == expected) == (wanted == "v2")


@pytest.mark.parametrize("route", ROUTES)
def test_a_version_that_cannot_be_had_is_refused(
    trying: Server, stores: tuple[Store, Store], route: str
) -> None:
    name, ask, _ = ROUTES[route]
    answer = ask(trying, f"{name}@v3")
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error["param"] == "model"
    assert stores[0].current(name) in error["message"]
    assert f"v2 on trial ({TRIALS[name]})" in error["message"]


def test_over_a_websocket(trying: Server, alone: Server) -> None:
    found = {}
    for server, model in ((trying, "shakespeare@v2"), (alone, "shakespeare")):
        with connected(server) as session:
            *chunks, last = Client(session).ask(**TEXT, model=model)
            assert last == {"done": True}
            assert {chunk["version"] for chunk in chunks} == {"v2"}
            found[server] = text_of(chunks)
    assert found[trying] == found[alone]
    with connected(trying) as session:
        (refused,) = Client(session).ask(**TEXT, model="shakespeare@v3")
    assert refused["error"]["param"] == "model"


def test_openai_s_client_lists_the_versions_and_names_one(trying: Server, alone: Server) -> None:
    def client(server: Server) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)

    with client(trying) as ours, client(alone) as theirs:
        assert {model.id for model in ours.models.list()} == set(TRIALS)
        for name, mode in TRIALS.items():
            model = ours.models.retrieve(name)
            served, trial = model.versions  # type: ignore[attr-defined]
            assert served == {"version": model.version, "role": "served"}  # type: ignore[attr-defined]
            assert trial == {"version": "v2", "role": mode}
            one = ours.models.retrieve(f"{name}@v2")
            other = theirs.models.retrieve(name)
            assert other.versions == [{"version": "v2", "role": "served"}]  # type: ignore[attr-defined]
            assert one.digest == other.digest != model.digest  # type: ignore[attr-defined]
            assert one.id == f"{name}@v2"
            with pytest.raises(openai.NotFoundError, match="v2 on trial"):
                ours.models.retrieve(f"{name}@v3")
        named = ours.completions.create(model="shakespeare@v2", **TEXT)
        usual = theirs.completions.create(model="shakespeare", **TEXT)
        assert named.choices == usual.choices
        assert named.system_fingerprint == usual.system_fingerprint


def test_our_client_lists_the_versions_and_names_one(trying: Server, alone: Server) -> None:
    with PythonClient(trying.url) as ours, PythonClient(alone.url) as theirs:
        for model in ours.models():
            roles = {one.version: one.role for one in model.versions}
            assert roles == {model.version: "served", "v2": TRIALS[model.id]}
        raw = picture(1)
        named = ours.classify(raw, model="cifar10@v2")
        assert named == theirs.classify(raw)
        assert ours.classify(raw, model=f"cifar10@{ours.models()[0].version}") != named
        with pytest.raises(NotFoundError, match="v2 on trial"):
            ours.classify(raw, model="cifar10@v3")


def test_the_command_lists_the_versions_and_names_one(
    trying: Server,
    alone: Server,
    stores: tuple[Store, Store],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "a.png").write_bytes(picture(1))
    np.save(tmp_path / "image.npy", np.zeros((1, 32, 32, 3), np.uint8))
    told = []
    for server, model in ((trying, "cifar10@v2"), (alone, "cifar10")):
        monkeypatch.setenv("TRIPTYCH_URL", server.url)
        assert main(["classify", str(tmp_path / "a.png"), "--model", model]) == 0
        assert main(["infer", model, f"image={tmp_path / 'image.npy'}"]) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1]
    assert told[0].count('"version":"v2"') == 2
    monkeypatch.setenv("TRIPTYCH_URL", trying.url)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["models"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for name, mode in TRIALS.items():
        assert any(line[0] == name and line[2] == stores[0].current(name) for line in lines)
        (trial,) = (line for line in lines if line[0] == f"{name}@v2")
        assert trial[2:] == ["on", "trial", f"({mode})"]


def total(server: Server, name: str, **labels: str) -> float:
    """The sum over the other labels."""
    return sum(
        value
        for (sample, found), value in scrape(server).items()
        if sample == name and labels.items() <= dict(found).items()
    )


def test_metrics_and_feedback_know_the_version_and_the_trial_does_not(
    stores: tuple[Store, Store], tmp_path: Path
) -> None:
    store, feedback = Path(stores[0].home.location), tmp_path / "feedback"
    copied = Path(shutil.copytree(store, tmp_path / "store"))
    with serving(copied, tmp_path / "home", workers=1, cache_mib=4, feedback=feedback) as server:
        server.wait_for("/readyz", 200)
        wanted = {
            route: [stores[0].current(name), "v2", "v2"] for route, (name, _, _) in ROUTES.items()
        }
        for route, versions in wanted.items():
            name, ask, _ = ROUTES[route]
            for version in versions:
                assert ask(server, f"{name}@{version}").status_code == 200
        assert hits(server) > 0
        for name in TRIALS:
            asked = 3 * sum(one == name for one, _, _ in ROUTES.values())
            assert total(server, "triptych_requests_total", model=name) == asked
            assert total(server, "triptych_trial_requests_total", model=name) == 0
        ROUTES["classify"][1](server, "cifar10")
        assert total(server, "triptych_trial_requests_total", model="cifar10") == 1
        assert server.stop() == 0
    rows = [row["version"] for row in read(feedback) if row["model"] == "cifar10-gan"]
    pictures = 5 + 1 + 2  # of sample, picture, bento sample
    assert rows.count("v2") == 2 * pictures
    assert rows.count(stores[0].current("cifar10-gan")) == pictures
