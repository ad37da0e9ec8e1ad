"""Print what the serving image installs: `python deploy/lock.py > deploy/requirements.txt`.

The base dependencies of pyproject.toml and all that they need in turn, as the packages installed
here declare it, at the versions that constraints.txt pins. Image and Bento install that file.
"""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]


def read_pins(text: str) -> dict[str, str]:
    """Map each package of a constraints file to its line."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return {canonicalize_name(Requirement(line).name): line for line in lines if line}


def closure(requirements: list[str]) -> set[str]:
    """Names of all packages that `requirements` need here, the extras they ask for included.

    Raises PackageNotFoundError if one of them is not installed.
    """
    found: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    todo = [Requirement(text) for text in requirements]
    while todo:
        wanted = todo.pop()
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found.add(name)
        todo += [
            needed
            for needed in map(Requirement, requires(name) or [])
            if needed.marker is None
            or any(needed.marker.evaluate({"extra": extra}) for extra in extras | {""})
        ]
    return found


def lock() -> list[str]:
    """The pins of the serving closure, sorted; raises KeyError for a package without a pin."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = read_pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    here = [
        text
        for text in project["dependencies"]
        if (marker := Requirement(text).marker) is None or marker.evaluate()
    ]
    return [pins[name] for name in sorted(closure(here))]


if __name__ == "__main__":
    try:
        print(*lock(), sep="\n")
    except (KeyError, PackageNotFoundError) as error:
        sys.exit(f"lock.py: {error.args[0]} is not pinned in constraints.txt, or not installed")
