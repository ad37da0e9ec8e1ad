"""JSON, forms and tensors that are not what a route reads: whole bodies, altered from a seed."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

from tests.fuzz.damage import damaged

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**400, 0.5, -0.0, 1e308, "", "a",
    "NaN", "\0", "\x7f", "ä", "日本", "\U0001f600", "a" * 3000, " " * 300, [], [[]], {}, {"a": {}},
    [None], [1, "a"], ["a"] * 300, [0] * 300, "http://127.0.0.1:9/", "../../etc/passwd",
    "${x}", "%s",
)  # fmt: skip
RAW = (
    "NaN", "Infinity", "-Infinity", "1e999", "01", "+1", "0x10", "'a'", '"\\ud800"', '"\\x"', "nul",
    "[" * 2000, '{"a":' * 500, "\ufeff1", "1,", '"a', "//",
)  # fmt: skip
"""What stands where a value should, and is no JSON, or JSON at its edge."""
_MARK = "~mark~"


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a document, the document's own first."""
    yield path
    children = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, child in children:
        yield from places(child, (*path, key))


def put(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The document with another value at `path`."""
    if not path:
        return value
    document = copy.deepcopy(document)
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return document


def malformed_json(document: Any, seed: int) -> bytes:
    """`document` with odd values, missing and unknown keys, or with its very text damaged."""
    draw = random.Random(seed)
    way = draw.randrange(5)
    if way == 0:
        return damaged(json.dumps(document).encode(), seed)
    path = draw.choice(list(places(document)))
    if way == 1:
        text = json.dumps(put(document, path, _MARK))
        return text.replace(json.dumps(_MARK), draw.choice(RAW)).encode("utf-8", "surrogatepass")
    if way == 2 and isinstance(document, dict):
        changed = copy.deepcopy(document)
        if draw.random() < 0.5 and changed:
            del changed[draw.choice(list(changed))]
        else:
            changed[draw.choice(("modell", "", "__class__", "n ", "PROMPT"))] = draw.choice(ODD)
        return json.dumps(changed).encode()
    if way == 3:
        # The same key twice.
        text = json.dumps(document)
        return (text[:-1] + f', "model": {json.dumps(draw.choice(ODD))}}}').encode()
    return json.dumps(put(document, path, draw.choice(ODD))).encode()


def form(files: list[bytes], boundary: str = "limit") -> bytes:
    """A form with `files` in it."""
    parts = [
        f'--{boundary}\r\ncontent-disposition: form-data; name="images"; filename="{index}.png"\r\n'
        "content-type: image/png\r\n\r\n".encode()
        + file
        + b"\r\n"
        for index, file in enumerate(files)
    ]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()])
