"""Files that are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.atomic import replacing, write


def test_the_new_content_takes_the_old_ones_place(tmp_path: Path) -> None:
    path = tmp_path / "made" / "a.json"
    for content in (b"first", b"second"):
        write(path, content)
        assert path.read_bytes() == content
    assert [item.name for item in path.parent.iterdir()] == ["a.json"]


def test_an_error_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write(path, b"first")
    with pytest.raises(OSError, match="full"), replacing(path) as file:
        file.write(b"half")
        raise OSError(28, "full")
    assert path.read_bytes() == b"first"
    assert [item.name for item in tmp_path.iterdir()] == ["a.json"]
