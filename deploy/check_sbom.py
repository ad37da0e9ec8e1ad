"""Hold a bill of materials against what should be, and what is, installed.

    python3 deploy/check_sbom.py sbom.cdx.json deploy/requirements.txt [installed.txt]

Both lists are lines of `name==version`. Prints what is missing and what is too much; exits 1 then.
The standard library alone, so that it runs anywhere.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path


def pins(text: str) -> set[tuple[str, str]]:
    """Canonical name (PEP 503) and version of each line."""
    pairs = (line.strip().split("==") for line in text.splitlines() if line.strip())
    return {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in pairs}


def listed(sbom: str) -> set[tuple[str, str]]:
    """Name and version of each Python distribution of a CycloneDX document in JSON."""
    purls = (component.get("purl", "") for component in json.loads(sbom)["components"])
    found = (re.fullmatch(r"pkg:pypi/([^@]+)@(.+)", purl) for purl in purls)
    return {(match[1], match[2]) for match in found if match}


def differences(sbom: str, other: str, name: str) -> list[str]:
    """What the bill lacks of the list called `name`, and what it has beyond."""
    have, want = listed(sbom), pins(other)
    return [
        *(
            f"not in the bill, but in {name}: {one}=={version}"
            for one, version in sorted(want - have)
        ),
        *(
            f"in the bill, but not in {name}: {one}=={version}"
            for one, version in sorted(have - want)
        ),
    ]


if __name__ == "__main__":
    bill, *lists = sys.argv[1:]
    found = [
        line
        for path in lists
        for line in differences(Path(bill).read_text(), Path(path).read_text(), path)
    ]
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(1 if found or not lists else 0)
