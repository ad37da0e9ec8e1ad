"""Keys: what the file may hold, who is let in, and how a file that changes is taken up."""

from __future__ import annotations

import asyncio
import logging
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.allowance import Allowances
from service.errors import NotAllowedError, RateLimitedError, SettingsError, UnauthorizedError
from service.keys import GRANT, Keys, new, permit_model
from tests.conftest import ROOT

pytestmark = pytest.mark.anyio


def entry(key_id: str, **more: object) -> tuple[str, str]:
    """A new key, and its table in the file."""
    token, digest = new(key_id)
    lines = [f'id = "{key_id}"', f'sha256 = "{digest}"']
    lines += [f"{name} = {value}" for name, value in more.items()]
    return token, "\n".join(["[[keys]]", *lines, ""])


def opened(folder: Path, *tables: str) -> Keys:
    path = folder / "keys.toml"
    path.write_text("\n".join(tables))
    return Keys(path, Allowances(folder / "usage"))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110  # a file is watched
            await asyncio.sleep(0.05)


def test_a_key_is_let_in_and_others_are_not(tmp_path: Path) -> None:
    token, table = entry("alice")
    keys = opened(tmp_path, table)
    assert keys.admit(token).key.id == "alice"
    stranger, _ = new("alice")
    for wrong in (
        None, "", "tk-", "tk-alice", "tk-alice.", "alice", token[:-1], token + "x", token.upper(),
        stranger, new("bob")[0], token.removeprefix("tk-"), "tk-alice.é", "\x00" * 50,
    ):  # fmt: skip
        with pytest.raises(UnauthorizedError):
            keys.admit(wrong)


def test_an_admin_route_wants_an_admin_key(tmp_path: Path) -> None:
    user, first = entry("user")
    operator, second = entry("operator", admin="true")
    keys = opened(tmp_path, first, second)
    assert keys.admit(operator, admin=True).key.admin
    with pytest.raises(NotAllowedError):
        keys.admit(user, admin=True)


def test_a_key_expires_on_its_day(tmp_path: Path) -> None:
    today = datetime.now(UTC).date()
    past, first = entry("past", expires=today)
    future, second = entry("future", expires=today + timedelta(days=2))
    keys = opened(tmp_path, first, second)
    keys.admit(future)
    with pytest.raises(UnauthorizedError, match="expired"):
        keys.admit(past)


def test_a_key_may_be_for_some_models(tmp_path: Path) -> None:
    token, table = entry("alice", models='["cifar10"]')
    context = GRANT.set(opened(tmp_path, table).admit(token))
    try:
        permit_model("cifar10")
        with pytest.raises(NotAllowedError, match="shakespeare"):
            permit_model("shakespeare")
    finally:
        GRANT.reset(context)
    permit_model("shakespeare")  # nobody is asked for a key


def test_a_refused_request_of_no_key_uses_nothing_up(tmp_path: Path) -> None:
    token, table = entry("alice", requests_per_day=1)
    keys = opened(tmp_path, table)
    for _ in range(3):
        with pytest.raises(UnauthorizedError):
            keys.admit(token + "x")
        with pytest.raises(NotAllowedError):
            keys.admit(token, admin=True)
    keys.admit(token)
    with pytest.raises(RateLimitedError):
        keys.admit(token)


DIGEST = "0" * 64


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("keys", "keys.toml"),
        ("", "keys"),
        ("[[keys]]\nid = 'a'", "sha256"),
        (f"[[keys]]\nid = 'A b'\nsha256 = '{DIGEST}'", r"\$.keys\[0\].id"),
        ("[[keys]]\nid = 'a'\nsha256 = 'secret'", r"\$.keys\[0\].sha256"),
        (f"[[keys]]\nid = 'a'\nsha256 = '{DIGEST}'\nrequest_per_s = 3", "request_per_s"),
        (f"[[keys]]\nid = 'a'\nsha256 = '{DIGEST}'\nrequests_per_s = 0", "requests_per_s"),
        (f"[[keys]]\nid = 'a'\nsha256 = '{DIGEST}'\nburst = 0", "burst"),
        (f"[[keys]]\nid = 'a'\nsha256 = '{DIGEST}'\nexpires = 'soon'", "expires"),
        (f"[[keys]]\nid = 'a'\nsha256 = '{DIGEST}'\nadmin = 'yes'", "admin"),
        (f"[[keys]]\nid = 'a'\nsha256 = '{DIGEST}'\n" * 2, "two keys"),
    ],
)
def test_a_broken_file_stops_the_start(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        opened(tmp_path, text)
    with pytest.raises(SettingsError, match="No such file"):
        Keys(tmp_path / "missing.toml", Allowances(tmp_path / "usage"))


async def test_the_file_is_read_again_and_a_broken_one_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alice, first = entry("alice")
    bob, second = entry("bob")
    keys = opened(tmp_path, first)
    path, beside = tmp_path / "keys.toml", tmp_path / "new.toml"

    def known(token: str) -> bool:
        try:
            keys.admit(token)
        except UnauthorizedError:
            return False
        return True

    following = asyncio.create_task(keys.follow())
    try:
        await asyncio.sleep(0.3)  # until the folder is watched
        with caplog.at_level(logging.ERROR, logger="triptych.keys"):
            path.write_text(first + "\n[[keys]]\nid = 'carol'\n")
            await until(lambda: "the keys before stay" in caplog.text)
        assert known(alice)
        beside.write_text(second)
        beside.replace(path)  # as editors do
        await until(lambda: known(bob))
        assert not known(alice)
    finally:
        following.cancel()


def test_the_command_makes_a_key_that_works(tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "service.keys", "new", "--id", "alice", "--requests-per-s", "5",
         "--requests-per-day", "100", "--admin"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    found = re.search(r"tk-alice\.\S{43}\b", made.stderr)
    assert found is not None
    assert found[0] not in made.stdout, "the file holds no key"
    key = opened(tmp_path, made.stdout).admit(found[0], admin=True).key
    assert (key.requests_per_s, key.requests_per_day) == (5, 100)


@pytest.mark.parametrize("wrong", [["--id", "A B"], ["--id", "a", "--requests-per-s", "-1"], []])
def test_the_command_refuses_what_the_file_would(wrong: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service.keys", "new", *wrong],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "[[keys]]" not in done.stdout
