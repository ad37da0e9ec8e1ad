"""Where feedback lies: `<folder>/<model>/date=YYYY-MM-DD/<worker>-<n>.parquet`.

A file is there whole or not at all; a day's folder goes when its time is over. The one module that
imports arro3, which is installed with the `feedback` extra.
"""

from __future__ import annotations

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

from arro3.core import Array, DataType, Table
from arro3.io import write_parquet

from service.feedback.columns import Column, Type

COMPRESSION = "zstd(3)"  # a third smaller than snappy on such rows, and the thread has time
DAY = "date="

_TYPES: Mapping[Type, DataType] = {
    "timestamp": DataType.int64(),
    "string": DataType.utf8(),
    "float32": DataType.float32(),
    "int32": DataType.int32(),
    "binary": DataType.binary(),
}


class Shelf:
    """One worker's place in the folder; several workers, also of other machines, may share it."""

    def __init__(self, folder: Path, columns: Sequence[Column]) -> None:
        self._folder, self._columns = folder, columns
        # A process's number says nothing among containers, and comes again after a restart.
        self._worker = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._written = 0

    def write(self, model: str, day: date, rows: Sequence[Mapping[str, Any]]) -> Path:
        """Write a file of a model's day; `time` is in milliseconds since 1970. Raises OSError."""
        content = io.BytesIO()
        write_parquet(self._table(rows), content, compression=COMPRESSION)
        folder = self._folder / model / f"{DAY}{day.isoformat()}"
        folder.mkdir(parents=True, exist_ok=True)
        self._written += 1
        path = folder / f"{self._worker}-{self._written}.parquet"
        partial = path.with_name(f".{path.name}.partial")
        try:
            with partial.open("wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return path

    def expire(self, today: date, days: int) -> None:
        """Remove what is older than `days` days; 0 keeps all."""
        if not days:
            return
        oldest = today - timedelta(days=days)
        for folder in self._folder.glob(f"*/{DAY}*"):
            # Another worker may remove the same folder; and what is not ours stays.
            with contextlib.suppress(ValueError):
                if date.fromisoformat(folder.name.removeprefix(DAY)) < oldest:
                    shutil.rmtree(folder, ignore_errors=True)

    def _table(self, rows: Sequence[Mapping[str, Any]]) -> Table:
        arrays: dict[str, Any] = {}
        for column in self._columns:
            array = Array([row.get(column.name) for row in rows], type=_TYPES[column.type])
            if column.type == "timestamp":
                array = array.cast(DataType.timestamp("ms", tz="UTC"))
            arrays[column.name] = array
        return Table.from_pydict(arrays)
