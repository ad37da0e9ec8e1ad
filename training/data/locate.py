"""Which of a user's files and folders is the data set that a model was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from service.contract import DataRecord
from training.data.digest import hash_file
from training.errors import DataError


def locate(record: DataRecord, places: Iterable[Path], *, option: str = "--data") -> str | None:
    """The path of the source that `record` describes; None stands for its official address.

    Args:
        record: what the model's manifest says of its data.
        places: files, or folders that are the data set or hold it.
        option: of the command line, by which users name them.

    A file counts if its checksum is the record's, a folder if it has the source's name (whoever
    reads it compares the checksum). Raises DataError if nothing fits and the data have no address.

    """
    tried = list(places)
    for place in tried:
        if not place.exists():
            raise DataError(f"{place} does not exist; name the folder that holds the data")
        for candidate in _candidates(place):
            if candidate.is_dir():
                if candidate.name == record.source:
                    return str(candidate)
            elif hash_file(candidate) == record.sha256:
                return str(candidate)
    if "://" in record.source:
        return None
    looked = f"; looked in {', '.join(map(str, tried))}" if tried else ""
    raise DataError(
        f"the data {record.name!r} ({record.source}, sha256 {record.sha256}) are not here{looked}: "
        f"name the file, or a folder that holds it, with {option}"
    )


def _candidates(place: Path) -> Iterator[Path]:
    yield place
    if place.is_dir():
        yield from sorted(path for path in place.iterdir() if not path.name.startswith("."))
