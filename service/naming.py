"""What clients call a model: its name, or `name@version` for one of its versions.

The version is a part of `model` and no field of its own, because every protocol has `model`:
OpenAI's clients send nothing else unasked, and so no client, command or schema need know of it.
It cannot be mistaken: `contract.NAME_PATTERN` has no "@".
"""

from __future__ import annotations


def parse_model(text: str) -> tuple[str, str | None]:
    """The name and, if one is named, the version; neither need exist."""
    name, sign, version = text.partition("@")
    return name, version if sign else None
