"""What both homes promise, on a real folder and a real S3 API."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import obstore
import pytest

from service.contract import CURRENT_FILE, GRAPH_FILE, MANIFEST_FILE
from service.errors import (
    ContractError,
    InvalidInputError,
    SettingsError,
    StoreAwayError,
    StoreConflictError,
    UnknownNameError,
)
from service.store import Home, Store, open_home
from service.store.audit import Audit
from service.store.home import NOTHING
from service.store.publisher import Publisher
from service.store.signature import SIGNATURE_FILE, Verifier, sign
from service.store.trial import read_trial
from tests.bucket import keys, new_bucket, raw, s3_server
from tests.training.candidates import make_candidate

NAME = "insects"


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    with s3_server() as variables:
        yield variables


@pytest.fixture(params=["folder", "bucket"])
def location(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    if request.param == "folder":
        return str(tmp_path / "store")
    variables = request.getfixturevalue("s3")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return new_bucket(variables)


@pytest.fixture
def home(location: str, tmp_path: Path) -> Home:
    return open_home(location, cache_dir=tmp_path / "cache", poll_s=0.05)


@pytest.fixture
def publish(home: Home, tmp_path: Path) -> Callable[[str], None]:
    def one(version: str) -> None:
        candidate = make_candidate(tmp_path / f"run-{version}", NAME, version)
        Publisher(Store(home), who="ann").publish(candidate, NAME)

    return one


@pytest.fixture
def bucket(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    return new_bucket(s3)


def test_a_key_is_replaced_only_if_it_is_what_was_read(home: Home) -> None:
    assert home.read("m/CURRENT") is None
    home.write("m/CURRENT", b"a", expected=NOTHING)
    first = home.read("m/CURRENT")
    assert first is not None
    assert first.content == b"a"
    with pytest.raises(StoreConflictError):
        home.write("m/CURRENT", b"b", expected=NOTHING)
    home.write("m/CURRENT", b"b", expected=first.tag)
    with pytest.raises(StoreConflictError):
        home.write("m/CURRENT", b"c", expected=first.tag)
    with pytest.raises(StoreConflictError):
        home.write("m/OTHER", b"c", expected=first.tag)
    found = home.read("m/CURRENT")
    assert found is not None
    assert (found.content, home.entries("m")) == (b"b", ["CURRENT"])
    home.write("m/CURRENT", b"d")
    assert home.entries("nowhere") == []


def test_what_is_published_is_read_and_verified(home: Home, publish: Callable[[str], None]) -> None:
    store = Store(home)
    publish("v1")
    assert (store.names(), store.current(NAME), store.versions(NAME)) == ([NAME], "v1", ["v1"])
    assert store.verified(NAME, "v1").version == "v1"
    assert (store.folder(NAME, "v1") / GRAPH_FILE).read_bytes().startswith(b"graph of v1")
    publish("v2")
    assert (store.current(NAME), store.versions(NAME)) == ("v2", ["v1", "v2"])
    with pytest.raises(ContractError, match="v404"):
        store.verified(NAME, "v404")


def test_a_version_is_placed_once(
    home: Home, publish: Callable[[str], None], tmp_path: Path
) -> None:
    publish("v1")
    other = make_candidate(tmp_path / "other", NAME, "v1")
    with pytest.raises(StoreConflictError, match="is there already"):
        Publisher(Store(home)).publish(other, NAME)


def test_of_two_publishers_that_decided_on_the_same_version_one_wins(
    home: Home, publish: Callable[[str], None], tmp_path: Path
) -> None:
    publish("v1")
    store = Store(home)
    blobs = [store.current_blob(NAME)[1] for _ in range(2)]
    outcomes: list[str] = []

    def replace(number: int) -> None:
        try:
            home.write(f"{NAME}/CURRENT", f"w{number}\n".encode(), expected=blobs[number].tag)
            outcomes.append("won")
        except StoreConflictError:
            outcomes.append("lost")

    threads = [threading.Thread(target=replace, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["lost", "won"]


def test_what_was_held_against_another_version_is_not_published(
    home: Home, publish: Callable[[str], None], tmp_path: Path
) -> None:
    publish("v1")
    candidate = make_candidate(tmp_path / "run", NAME, "v2")
    for judged in ("", "v0"):
        with pytest.raises(StoreConflictError, match="serves v1 by now"):
            Publisher(Store(home)).publish(candidate, NAME, instead_of=judged)
    assert Store(home).versions(NAME) == ["v1"]
    assert Publisher(Store(home)).publish(candidate, NAME, instead_of="v1") == "v2"


def test_rolling_back_goes_to_the_version_served_before(
    home: Home, publish: Callable[[str], None]
) -> None:
    publisher = Publisher(Store(home), who="bob")
    for version in ("v1", "v2", "v3"):
        publish(version)
    publisher.promote(NAME, "v1", note="v3 is slow")
    assert publisher.roll_back(NAME) == "v3"
    assert Store(home).current(NAME) == "v3"
    assert publisher.roll_back(NAME, "v2") == "v2"
    with pytest.raises(UnknownNameError, match="it has v1, v2, v3"):
        publisher.promote(NAME, "v9")
    told = [(e.action, e.version, e.before, e.who) for e in Audit(home, NAME).entries()]
    assert told == [
        ("published", "v1", "", "ann"),
        ("published", "v2", "v1", "ann"),
        ("published", "v3", "v2", "ann"),
        ("promoted", "v1", "v3", "bob"),
        ("rolled back", "v3", "v1", "bob"),
        ("rolled back", "v2", "v3", "bob"),
    ]


def test_a_changed_entry_of_the_log_shows(home: Home, publish: Callable[[str], None]) -> None:
    publish("v1")
    publish("v2")
    key = f"{NAME}/.audit/00000001.json"
    entry = home.read(key)
    assert entry is not None
    home.write(key, entry.content.replace(b"ann", b"eve"))
    with pytest.raises(ContractError, match="does not follow"):
        Audit(home, NAME).entries()
    home.write(key, b"{}")
    with pytest.raises(ContractError, match="is no entry"):
        Audit(home, NAME).entries()


def test_writers_of_the_log_take_turns(home: Home) -> None:
    def write(who: str) -> None:
        for _ in range(5):
            Audit(home, NAME).add("promoted", "v1", who=who)

    threads = [threading.Thread(target=write, args=(who,)) for who in ("ann", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = Audit(home, NAME).entries()
    assert [entry.number for entry in entries] == list(range(1, 11))
    assert [entry.who for entry in entries].count("bob") == 5


def test_the_oldest_are_retired_but_none_that_is_served_or_on_trial(
    home: Home, publish: Callable[[str], None]
) -> None:
    for number in range(1, 6):
        publish(f"v{number}")
    publisher = Publisher(Store(home), keep=2)
    publisher.promote(NAME, "v1")
    publisher.start_trial(NAME, "v2", "canary", share=0.1, window_s=60, least_requests=1)
    assert publisher.retire(NAME) == ["v3"]
    assert Store(home).versions(NAME) == ["v1", "v2", "v4", "v5"]


def test_half_a_version_is_invisible_and_swept(
    home: Home, publish: Callable[[str], None], tmp_path: Path
) -> None:
    publish("v1")
    candidate = make_candidate(tmp_path / "half", NAME, "v2")
    (candidate / "golden.npz").unlink()  # a publisher that dies after some of its files
    with pytest.raises((OSError, ContractError)):
        home.place(NAME, "v2", candidate, ["model.onnx", "golden.npz", MANIFEST_FILE])
    assert Store(home).versions(NAME) == ["v1"]
    Publisher(Store(home)).sweep(NAME, older_than_s=0)
    assert home.sweep(NAME) == []
    assert Store(home).versions(NAME) == ["v1"]


def test_one_trial_at_a_time(home: Home, publish: Callable[[str], None]) -> None:
    publish("v1")
    publish("v2")
    publisher = Publisher(Store(home), who="ann")
    with pytest.raises(InvalidInputError, match="serves v2 already"):
        publisher.start_trial(NAME, "v2", "canary", share=0.1, window_s=60, least_requests=1)
    for share in (0.0, 1.1):
        with pytest.raises(InvalidInputError, match="share"):
            publisher.start_trial(NAME, "v1", "canary", share=share, window_s=60, least_requests=1)
    started = publisher.start_trial(NAME, "v1", "canary", share=0.1, window_s=60, least_requests=1)
    trial, blob = read_trial(home, NAME)
    assert trial == started
    assert blob is not None
    with pytest.raises(StoreConflictError, match="on trial already"):
        publisher.start_trial(NAME, "v1", "shadow", share=1, window_s=60, least_requests=1)
    assert publisher.end_trial(NAME, started, blob, "trial passed", "all well")
    assert not publisher.end_trial(NAME, started, blob, "trial failed", "too late")
    assert Store(home).current(NAME) == "v1"
    ended, _ = read_trial(home, NAME)
    assert ended is not None
    assert (ended.state, ended.reason) == ("passed", "all well")
    actions = [entry.action for entry in Audit(home, NAME).entries()]
    assert actions == ["published", "published", "trial started", "promoted", "trial passed"]


def test_a_passed_trial_against_what_is_no_longer_served_changes_nothing(
    home: Home, publish: Callable[[str], None]
) -> None:
    for version in ("v1", "v2", "v3"):
        publish(version)
    publisher = Publisher(Store(home))
    trial = publisher.start_trial(NAME, "v1", "canary", share=1, window_s=60, least_requests=1)
    _, blob = read_trial(home, NAME)
    assert blob is not None
    publisher.promote(NAME, "v2")
    assert publisher.end_trial(NAME, trial, blob, "trial passed", "all well")
    assert Store(home).current(NAME) == "v2"
    ended, _ = read_trial(home, NAME)
    assert ended is not None
    assert (ended.state, ended.reason) == ("stopped", f"{NAME} serves v2 by now")


@pytest.mark.anyio
async def test_a_replaced_current_or_trial_is_noticed(
    home: Home, publish: Callable[[str], None]
) -> None:
    await asyncio.to_thread(publish, "v1")
    await asyncio.to_thread(publish, "v2")
    changes = home.changes()
    turn = 0
    for file, content in ((CURRENT_FILE, "v{}\n"), ("TRIAL", "{}")):
        seen = asyncio.ensure_future(anext(changes))
        while not seen.done():  # the watch begins in a thread: write until it is seen
            turn += 1
            await asyncio.to_thread(home.write, f"{NAME}/{file}", content.format(turn).encode())
            await asyncio.wait([seen], timeout=0.3)
        assert seen.result() == {NAME}
    await changes.aclose()  # type: ignore[attr-defined]


def test_a_signature_is_demanded_where_there_is_a_key(
    home: Home, tmp_path: Path, publish: Callable[[str], None]
) -> None:
    for name in ("ours", "theirs"):
        key = tmp_path / f"{name}.pem"
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True)
        subprocess.run(
            ["openssl", "pkey", "-in", key, "-pubout", "-out", tmp_path / f"{name}.pub"], check=True
        )
    candidate = make_candidate(tmp_path / "signed", NAME, "v2")
    content = (candidate / MANIFEST_FILE).read_bytes()
    (candidate / SIGNATURE_FILE).write_bytes(sign(content, tmp_path / "ours.pem"))
    Publisher(Store(home)).publish(candidate, NAME)
    publish("v1")
    ours = Store(home, verifier=Verifier(tmp_path / "ours.pub"))
    assert ours.verified(NAME, "v2").version == "v2"
    with pytest.raises(ContractError, match="v1 is not signed"):
        ours.verified(NAME, "v1")
    with pytest.raises(ContractError, match="was not signed with the private half of theirs"):
        Store(home, verifier=Verifier(tmp_path / "theirs.pub")).verified(NAME, "v2")
    with pytest.raises(SettingsError, match="is no Ed25519 key"):
        Verifier(tmp_path / "nowhere.pub")
    (tmp_path / "text.pub").write_text("no key")
    with pytest.raises(SettingsError, match="is no Ed25519 key"):
        Verifier(tmp_path / "text.pub")


# --- a bucket alone ---------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["s3://", "gs://b/p", "s3:///p", "s3://b/p?x=1", "http://x/y"])
def test_what_is_no_bucket_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="s3://bucket/prefix"):
        open_home(url)


def test_a_copy_that_was_damaged_is_fetched_anew(bucket: str, tmp_path: Path) -> None:
    store = Store(open_home(bucket, cache_dir=tmp_path / "cache"))
    Publisher(store).publish(make_candidate(tmp_path / "run", NAME, "v1"), NAME)
    graph = store.folder(NAME, "v1") / GRAPH_FILE
    sound = graph.read_bytes()
    graph.write_bytes(sound[:-1] + b"x")
    assert store.verified(NAME, "v1").version == "v1"
    assert graph.read_bytes() == sound


@pytest.mark.parametrize("damage", ["flip", "cut", "lose"])
def test_what_was_damaged_in_the_bucket_is_refused(
    bucket: str, s3: dict[str, str], tmp_path: Path, damage: str
) -> None:
    store = Store(open_home(bucket, cache_dir=tmp_path / "cache"))
    Publisher(store).publish(make_candidate(tmp_path / "run", NAME, "v1"), NAME)
    beneath, key = raw(bucket, s3), f"{NAME}/v1/{GRAPH_FILE}"
    content = bytes(obstore.get(beneath, key).bytes())
    if damage == "lose":
        obstore.delete(beneath, key)
    else:
        obstore.put(beneath, key, content[:-1] + (b"x" if damage == "flip" else b""))
    with pytest.raises(ContractError, match=r"model\.onnx"):
        store.verified(NAME, "v1")


def test_a_removed_version_leaves_nothing(bucket: str, s3: dict[str, str], tmp_path: Path) -> None:
    store = Store(open_home(bucket, cache_dir=tmp_path / "cache"))
    for version in ("v1", "v2"):
        Publisher(store).publish(make_candidate(tmp_path / version, NAME, version), NAME)
    store.home.remove(NAME, "v1")
    assert [key for key in keys(raw(bucket, s3)) if "/v1/" in key] == []


def test_a_store_that_is_away_says_so_and_copies_go_on(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(open_home(bucket, cache_dir=tmp_path / "cache"))
    Publisher(store).publish(make_candidate(tmp_path / "run", NAME, "v1"), NAME)
    assert store.current(NAME) == "v1"
    store.folder(NAME, "v1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody listens
    away = Store(open_home(bucket, cache_dir=tmp_path / "cache"))
    with pytest.raises(StoreAwayError, match="does not answer"):
        away.current(NAME)
    with pytest.raises(StoreAwayError, match="does not answer"):
        away.names()
    assert away.remembered() == {NAME: "v1"}
    assert away.verified(NAME, "v1").version == "v1"
