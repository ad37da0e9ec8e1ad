"""Print exact versions of everything that a part of the image installs.

    python deploy/lock.py > deploy/requirements.txt             # what serves: image and Bento
    python deploy/lock.py sbom > deploy/requirements-sbom.txt   # what writes the image's SBOM
    python deploy/lock.py cuda > deploy/requirements-cuda.txt   # what serves on NVIDIA's GPUs

The base dependencies of pyproject.toml, or deploy/sbom.py's, and all that they need in turn, as the
packages installed here declare it, at the versions that constraints.txt pins. CUDA's packages are
installed nowhere here, and torch pins others: uv asks the package index for them.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
CPU_RUNTIME = "onnxruntime"


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


def serving() -> list[str]:
    """The base dependencies of pyproject.toml that apply here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [
        text
        for text in project["dependencies"]
        if (marker := Requirement(text).marker) is None or marker.evaluate()
    ]


def lock(requirements: list[str]) -> list[str]:
    """The pins of their closure, sorted; raises KeyError for a package without a pin."""
    pins = read_pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    return [pins[name] for name in sorted(closure(requirements))]


def lock_cuda() -> list[str]:
    """The serving closure with the CUDA build of onnxruntime; raises CalledProcessError."""
    gpu = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        text for text in serving() if canonicalize_name(Requirement(text).name) != CPU_RUNTIME
    ]
    # What is locked already stays as it is, unless constraints.txt says otherwise.
    locked = ROOT / "deploy" / "requirements-cuda.txt"
    kept = [line for line in locked.read_text().splitlines() if line.startswith("nvidia-")]
    found = subprocess.run(
        [
            *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header"),
            *("--no-annotate", "--constraint", str(ROOT / "constraints.txt")),
            *("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_36", "-"),
        ],
        input="\n".join(wanted + gpu["optional-dependencies"]["gpu"] + kept),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return found.stdout.split()


def main() -> None:
    """The command line."""
    what = sys.argv[1] if len(sys.argv) > 1 else "serving"
    if what == "cuda":
        pins = lock_cuda()
    elif what == "sbom":
        pins = lock(["cyclonedx-python-lib"])
    elif what == "serving":
        pins = lock(serving())
    else:
        sys.exit(f"lock.py: {what} is not serving, sbom or cuda")
    print(*pins, sep="\n")


if __name__ == "__main__":
    try:
        main()
    except (KeyError, PackageNotFoundError) as error:
        sys.exit(f"lock.py: {error.args[0]} is not pinned in constraints.txt, or not installed")
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
