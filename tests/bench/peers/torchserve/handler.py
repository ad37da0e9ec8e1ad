"""TorchServe: a handler without torch; a body is a JPEG or, if not, the bytes of a tensor."""

from __future__ import annotations

from typing import Any

from work import classifier, decode

_JPEG = b"\xff\xd8"


def handle(data: list[dict[str, Any]] | None, _: Any) -> list[Any] | None:
    """Called once without data to load, then with each batch."""
    model = classifier()
    if data is None:
        return None
    bodies = [bytes(row["body"]) for row in data]
    pictures = [decode(body) for body in bodies if body.startswith(_JPEG)]
    answers = iter(model.classify(pictures) if pictures else [])
    return [
        next(answers)
        if body.startswith(_JPEG)
        else model.probabilities(model.tensor(body)).tobytes()
        for body in bodies
    ]
