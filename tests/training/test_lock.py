"""A lock that ends with its process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from training.errors import AlreadyRunningError
from training.lock import LOCK_FILE, alone


def test_the_second_is_told_who_holds_it_and_since_when(tmp_path: Path) -> None:
    with (
        alone(tmp_path, "a run of insects"),
        pytest.raises(AlreadyRunningError) as refused,
        alone(tmp_path, "a run of insects"),
    ):
        raise AssertionError("two hold it")
    message = refused.value.message
    assert message.startswith(f"a run of insects is under way already: process {os.getpid()} on ")
    assert "since 2" in message


def test_it_can_be_held_again_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "insects"
    for _ in range(2):
        with alone(folder, "it"):
            assert (folder / LOCK_FILE).exists()
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(ZeroDivisionError), alone(folder, "it"):
        (folder / "kept").write_text("something")
        raise ZeroDivisionError
    assert [path.name for path in folder.iterdir()] == ["kept"]


def test_what_a_killed_process_left_behind_locks_nobody_out(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_text('{"pid": 1, "host": "here", "since": "then"}')
    with alone(tmp_path, "it"):
        assert f'"pid":{os.getpid()}' in (tmp_path / LOCK_FILE).read_text()
