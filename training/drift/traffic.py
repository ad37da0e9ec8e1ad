"""Feedback that the service kept: `<folder>/<model>/date=YYYY-MM-DD/*.parquet`."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from training.drift.profile import Columns
from training.errors import DataError

DAY = "date="
LEFT_OUT = frozenset({"image", "text"})  # large, and nothing here is told by them


def read_feedback(folder: Path, model: str, *, days: int | None = None) -> Columns:
    """The rows of a model, those of the last `days` days if that is given; `day` is added.

    Raises DataError if there is none, or a file is damaged.
    """
    place = folder / model
    if not place.is_dir():
        raise DataError(
            f"{folder} holds no feedback of {model!r}; TRIPTYCH_FEEDBACK names the folder to a "
            "service"
        )
    first = date.min
    if days is not None:
        first = datetime.now(UTC).date() - timedelta(days=days - 1)
    rows: dict[str, list[Any]] = {"day": []}
    for day_folder in sorted(place.glob(f"{DAY}*")):
        day = date.fromisoformat(day_folder.name.removeprefix(DAY))
        if day < first:
            continue
        for path in sorted(day_folder.glob("*.parquet")):
            _append(rows, path, day)
    if not rows["day"]:
        since = "" if days is None else f" of the last {days} days"
        raise DataError(f"{place} holds no feedback{since}")
    return rows


def _append(rows: dict[str, list[Any]], path: Path, day: date) -> None:
    try:
        # Its path's `date=` is no column here.
        table = parquet.read_table(path, partitioning=None)
    except pa.ArrowException as error:
        raise DataError(f"{path} is damaged ({error}); remove it") from error
    before = len(rows["day"])
    for name in table.column_names:
        if name not in LEFT_OUT:
            # A column that earlier files do not have: other fields were named then.
            rows.setdefault(name, [None] * before)
            rows[name].extend(table.column(name).to_pylist())
    rows["day"] += [day] * table.num_rows
    for values in rows.values():
        values.extend([None] * (len(rows["day"]) - len(values)))
