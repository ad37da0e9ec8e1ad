"""Draw pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Unpack

from triptych.client.answers import Gallery, Grid
from triptych.client.call import Call, CallOptions, Reply, post_json, read_json
from triptych.client.errors import UnexpectedAnswerError


def sample(
    labels: str | Sequence[str] = (),
    *,
    n: int | None = None,
    seed: int | None = None,
    model: str | None = None,
    **options: Unpack[CallOptions],
) -> Call[Gallery]:
    """Draw pictures: number i is of class `labels[i % len(labels)]`.

    Args:
        labels: names of classes; none: every class in turn.
        n: how many; None: one a label.
        seed: the same one draws the same pictures; None: the server draws one, and tells.
        model: the model; None: the first of its kind by name.
        options: as `CallOptions`.

    """
    fields = _drawing(labels, n, seed, model)
    read = partial(read_json, into=Gallery)
    return post_json("/v1/sample", fields, read, options, accept="application/json")


def grid(
    labels: str | Sequence[str] = (),
    *,
    n: int | None = None,
    seed: int | None = None,
    model: str | None = None,
    columns: int | None = None,
    **options: Unpack[CallOptions],
) -> Call[Grid]:
    """As `sample`, on one sheet of `columns` columns, 1 to 64, as a PNG."""
    fields = _drawing(labels, n, seed, model) | {"columns": columns}
    return post_json("/v1/sample", fields, _read_grid, options, accept="image/png")


def _drawing(
    labels: str | Sequence[str], n: int | None, seed: int | None, model: str | None
) -> dict[str, Any]:
    named = [labels] if isinstance(labels, str) else list(labels)
    return {"labels": named, "n": n, "seed": seed, "model": model}


def _read_grid(reply: Reply) -> Grid:
    try:
        model, version = reply.headers["x-model"], reply.headers["x-model-version"]
        seed = int(reply.headers["x-seed"])
    except (KeyError, ValueError) as error:
        raise UnexpectedAnswerError(f"the picture does not say who drew it: {error}") from error
    return Grid(model, version, seed, reply.body)
