"""Texts: reading, joining, splitting, refusals."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.training.data.sources import real_data
from training.data.text import TextData, load_text
from training.errors import DataError

LINE = "The quick brown fox jumps over the lazy dog.\n"


def load(path: Path) -> TextData:
    return load_text(str(path), cache_dir=path.parent / "cache")


def test_the_last_tenth_validates(tmp_path: Path) -> None:
    path = tmp_path / "fox.txt"
    path.write_text(LINE * 20)
    data = load(path)
    assert data.name == "fox"
    assert data.train + data.val == LINE * 20
    assert len(data.train) == int(0.9 * len(LINE * 20))
    assert data.vocabulary == "".join(sorted(set(LINE)))
    assert data.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_byte_order_marks_and_line_ends_of_other_systems(tmp_path: Path) -> None:
    plain = tmp_path / "plain.txt"
    plain.write_bytes((LINE * 10).encode())
    other = tmp_path / "other.txt"
    other.write_bytes(b"\xef\xbb\xbf" + (LINE * 10).replace("\n", "\r\n").encode())
    oldest = tmp_path / "oldest.txt"
    oldest.write_bytes((LINE * 10).replace("\n", "\r").encode())
    assert load(plain).train == load(other).train == load(oldest).train
    assert load(plain).vocabulary == load(other).vocabulary


def test_letters_beyond_ascii(tmp_path: Path) -> None:
    path = tmp_path / "greek.txt"
    path.write_text("Ἄνδρα μοι ἔννεπε, Μοῦσα 🏛\n" * 20, encoding="utf-8")
    data = load(path)
    assert "🏛" in data.vocabulary
    assert data.train.startswith("Ἄνδρα μοι")


def test_a_folder_is_joined_in_the_order_of_its_paths(tmp_path: Path) -> None:
    folder = tmp_path / "plays"
    (folder / "b").mkdir(parents=True)
    (folder / "2.txt").write_text("two " * 40)
    (folder / "1.txt").write_text("one " * 40)
    (folder / "b" / "3.md").write_text("three " * 40)
    (folder / "picture.png").write_bytes(b"\xff\xfe")
    data = load(folder)
    assert data.train + data.val == "one " * 40 + "\n" + "two " * 40 + "\n" + "three " * 40 + "\n"
    before = data.sha256
    (folder / "2.txt").write_text("tow " * 40)
    assert load(folder).sha256 != before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"short", "has 5 characters; at least"),
        (b"a" * 500, "repeats one character"),
        (b"good " * 100 + b"\xff\xfe", "byte 0xff at offset 500"),
        (("text\n" * 100).encode("utf-16"), "byte 0xff at offset 0"),
    ],
)
def test_what_is_not_a_text_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(path)


def test_missing_files_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load(tmp_path / "nowhere.txt")
    with pytest.raises(DataError, match="holds no text files"):
        load(tmp_path)


@pytest.mark.data
def test_shakespeare() -> None:
    data = load_text(str(real_data("tinyshakespeare.txt")), cache_dir=Path("unused"))
    assert data.name == "tinyshakespeare"
    assert (len(data.train), len(data.val), len(data.vocabulary)) == (1_003_854, 111_540, 65)
    assert data.train.startswith("First Citizen:\n")
    assert "Public domain" in data.license
