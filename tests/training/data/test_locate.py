"""A model's data are told by their checksum, wherever they lie."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from service.contract import DataRecord
from training.data.digest import hash_bytes
from training.data.locate import locate
from training.errors import DataError

CONTENT = b"To be, or not to be.\n"
RECORD = DataRecord(name="play", source="play.txt", sha256=hash_bytes(CONTENT))


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    (tmp_path / "other.txt").write_bytes(b"something else")
    (tmp_path / "renamed.bin").write_bytes(CONTENT)
    (tmp_path / "flowers").mkdir()
    return tmp_path


def test_a_file_is_found_by_its_content(shelf: Path) -> None:
    assert locate(RECORD, [shelf]) == str(shelf / "renamed.bin")
    assert locate(RECORD, [shelf / "other.txt", shelf / "renamed.bin"]) == str(
        shelf / "renamed.bin"
    )


def test_a_folder_is_found_by_its_name(shelf: Path) -> None:
    record = msgspec.structs.replace(RECORD, source="flowers")
    assert locate(record, [shelf]) == str(shelf / "flowers")
    assert locate(record, [shelf / "flowers"]) == str(shelf / "flowers")


def test_data_of_an_address_are_fetched_from_there(shelf: Path) -> None:
    record = msgspec.structs.replace(RECORD, source="https://example.org/a.gz", sha256="0" * 64)
    assert locate(record, []) is None
    assert locate(record, [shelf]) is None


def test_what_is_missing_is_named_with_where_it_was_looked_for(shelf: Path) -> None:
    record = msgspec.structs.replace(RECORD, sha256="f" * 64)
    with pytest.raises(DataError, match=r"play.txt, sha256 f{64}\) are not here; looked in .*"):
        locate(record, [shelf])
    with pytest.raises(DataError, match="does not exist"):
        locate(RECORD, [shelf / "nowhere"])
