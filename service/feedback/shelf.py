"""Where feedback lies: `<folder or prefix>/<model>/date=YYYY-MM-DD/<worker>-<n>.parquet`.

A file is there whole or not at all; a day's folder goes when its time is over. The one module that
imports arro3, which is installed with the `feedback` extra.
"""

from __future__ import annotations

import abc
import contextlib
import io
import os
import secrets
import shutil
import socket
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import obstore
from arro3.core import Array, DataType, Table
from arro3.io import write_parquet

from service.feedback.columns import Column, Type
from service.store.bucket import ABSENT, open_bucket

COMPRESSION = "zstd(3)"  # a third smaller than snappy on such rows, and the thread has time
DAY = "date="
TIMEOUT_S = 10.0  # of a request to a bucket

_TYPES: Mapping[Type, DataType] = {
    "timestamp": DataType.int64(),
    "string": DataType.utf8(),
    "float32": DataType.float32(),
    "int32": DataType.int32(),
    "binary": DataType.binary(),
}


class Shelf(abc.ABC):
    """One worker's place; several workers, also of other machines, may share the location."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        # A process's number says nothing among containers, and comes again after a restart.
        self._worker = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._written = 0

    def write(self, model: str, day: date, rows: Sequence[Mapping[str, Any]]) -> str:
        """Write a file of a model's day; `time` is in milliseconds since 1970. Returns its key.

        Raises OSError, or what the store raises.
        """
        content = io.BytesIO()
        write_parquet(self._table(rows), content, compression=COMPRESSION)
        self._written += 1
        key = f"{model}/{DAY}{day.isoformat()}/{self._worker}-{self._written}.parquet"
        self._put(key, content.getvalue())
        return key

    def expire(self, today: date, days: int) -> None:
        """Remove what is older than `days` days; 0 keeps all."""
        if not days:
            return
        oldest = today - timedelta(days=days)
        for place in self._days():
            # What is not ours stays.
            with contextlib.suppress(ValueError):
                if date.fromisoformat(place.rpartition(DAY)[2]) < oldest:
                    self._remove(place)

    @abc.abstractmethod
    def _put(self, key: str, content: bytes) -> None:
        """Write a file, whole or not at all."""

    @abc.abstractmethod
    def _days(self) -> list[str]:
        """Every `<model>/date=YYYY-MM-DD` that there is."""

    @abc.abstractmethod
    def _remove(self, day: str) -> None:
        """Remove one of these; another worker may remove the same."""

    def _table(self, rows: Sequence[Mapping[str, Any]]) -> Table:
        arrays: dict[str, Any] = {}
        for column in self._columns:
            array = Array([row.get(column.name) for row in rows], type=_TYPES[column.type])
            if column.type == "timestamp":
                array = array.cast(DataType.timestamp("ms", tz="UTC"))
            arrays[column.name] = array
        return Table.from_pydict(arrays)


class FolderShelf(Shelf):
    """In a folder."""

    def __init__(self, folder: Path, columns: Sequence[Column]) -> None:
        super().__init__(columns)
        self._folder = folder

    def _put(self, key: str, content: bytes) -> None:
        path = self._folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        try:
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _days(self) -> list[str]:
        return [str(one.relative_to(self._folder)) for one in self._folder.glob(f"*/{DAY}*")]

    def _remove(self, day: str) -> None:
        shutil.rmtree(self._folder / day, ignore_errors=True)


class BucketShelf(Shelf):
    """Under `s3://bucket/prefix`, as a store of models may be."""

    def __init__(self, location: str, columns: Sequence[Column]) -> None:
        super().__init__(columns)
        self._bucket = open_bucket(location, timeout_s=TIMEOUT_S, field="TRIPTYCH_FEEDBACK")

    def _put(self, key: str, content: bytes) -> None:
        obstore.put(self._bucket, key, content)

    def _days(self) -> list[str]:
        models = obstore.list_with_delimiter(self._bucket)["common_prefixes"]
        return [
            day.rstrip("/")
            for model in models
            for day in obstore.list_with_delimiter(self._bucket, model)["common_prefixes"]
        ]

    def _remove(self, day: str) -> None:
        for page in obstore.list(self._bucket, f"{day}/"):
            for one in page:
                with contextlib.suppress(*ABSENT):
                    obstore.delete(self._bucket, one["path"])


def open_shelf(location: str, columns: Sequence[Column]) -> Shelf:
    """The shelf in a folder or a bucket; raises SettingsError for a location that is neither."""
    if "://" in location:
        return BucketShelf(location, columns)
    return FolderShelf(Path(location), columns)
