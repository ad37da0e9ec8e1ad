"""What feedback may keep: the documented set of columns, and which of them hold what clients sent.

A column that a kind of model has no value for is null.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from service.errors import SettingsError
from service.images import FEATURES

Type = Literal["timestamp", "string", "float32", "int32", "binary"]
VARIABLE = "TRIPTYCH_FEEDBACK_FIELDS"


@dataclass(frozen=True)
class Column:
    """A column of a feedback file."""

    name: str
    type: Type
    help: str
    private: bool = False
    """Holds what a client sent or got: kept only if it is named."""


COLUMNS = (
    Column("time", "timestamp", "when the answer was ready, UTC, milliseconds"),
    Column("model", "string", "name of the model that answered"),
    Column("version", "string", "its version"),
    Column("route", "string", "as in the metrics, e.g. `classify`"),
    Column("latency_ms", "float32", "from the request's arrival to its answer"),
    Column("label", "string", "the class: the likeliest (classify), or the one asked for (draw)"),
    Column("score", "float32", "its probability (classify)"),
    *(Column(name, "float32", "of the picture as the model saw it, 0 to 1") for name in FEATURES),
    Column("prompt_chars", "int32", "length of the prompt"),
    Column("text_chars", "int32", "length of the text written"),
    Column("finish_reason", "string", "why the text ended: `stop` or `length`"),
    Column("prompt", "string", "the prompt itself", private=True),
    Column("text", "string", "the text written", private=True),
    Column("image", "binary", "the bytes of the image as sent (classify)", private=True),
)


def chosen_columns(setting: str) -> tuple[Column, ...]:
    """The columns that a comma-separated list names; an empty one means all that are not private.

    Raises SettingsError for a name that is no column, with the nearest one.
    """
    names = [name.strip() for name in setting.split(",") if name.strip()]
    known = {column.name: column for column in COLUMNS}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise SettingsError(
                f"{VARIABLE}: {name!r} is not a field; did you mean {near}? There is "
                f"{', '.join(known)}",
                field=VARIABLE,
            )
    if not names:
        return tuple(column for column in COLUMNS if not column.private)
    return tuple(column for column in COLUMNS if column.name in names)
