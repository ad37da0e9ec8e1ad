"""Look for known vulnerabilities in what serves, and in what builds and tests it: `make audit`.

pip-audit asks PyPI's (or OSV's) database for each pinned version: of deploy/requirements.txt and
requirements-cuda.txt, which serve, and of what else is in constraints.txt. Exit codes: 1 for a
vulnerability in what serves that deploy/audit-allowed.toml does not list, 0 otherwise; what is
found in the rest is printed alone. Where the database cannot be reached, or does not know a package
it says so: with --lenient it then still ends with 0, without with 3. More options go to pip-audit
(`-s osv --osv-url URL`).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

DEPLOY = Path(__file__).resolve().parent
SERVING = (DEPLOY / "requirements.txt", DEPLOY / "requirements-cuda.txt")
ALL = DEPLOY.parent / "constraints.txt"
ALLOWED = DEPLOY / "audit-allowed.toml"
TIMEOUT_S = 600


@dataclass(frozen=True)
class Finding:
    """A known vulnerability of a pinned version."""

    pin: str
    names: frozenset[str]
    fixed_in: str

    def __str__(self) -> str:
        names = ", ".join(sorted(self.names))
        return f"{self.pin}: {names}; fixed in {self.fixed_in or 'no version'}"


@dataclass(frozen=True)
class Audit:
    """What the database said of a list of pins."""

    unknown: set[str]
    findings: list[Finding]


class UnreachableError(Exception):
    """The database could not be asked; the message is pip-audit's last word."""


def read_allowed(text: str, today: date) -> dict[str, str]:
    """Why a vulnerability is allowed, by its name; an entry without a reason is a KeyError.

    An entry whose `until` has passed allows nothing any more.
    """
    return {
        entry["id"]: entry["reason"]
        for entry in tomllib.loads(text).get("allowed", [])
        if entry["until"] >= today
    }


def canonical(name: str) -> str:
    """A distribution's name as PEP 503 spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_pins(*files: Path) -> set[str]:
    """Every pin of these files once, whichever way its name is spelt."""
    lines = "\n".join(file.read_text() for file in files).splitlines()
    lines = [line.partition("#")[0].strip() for line in lines]
    pairs = (line.split("==") for line in lines if line)
    return {f"{canonical(name)}=={version}" for name, version in pairs}


def audit(pins: set[str], options: Sequence[str]) -> Audit:
    """Ask for each of `name==version`; raises UnreachableError."""
    with tempfile.TemporaryDirectory() as folder:
        plain, answer = Path(folder, "pins.txt"), Path(folder, "answer.json")
        plain.write_text("\n".join(sorted(pins)) + "\n")
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(plain), "--no-deps"]
        command += ["--disable-pip", "--progress-spinner", "off", "--format", "json"]
        done = subprocess.run(
            [*command, "--output", str(answer), *options],
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )
        if not answer.is_file():
            last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
            raise UnreachableError("".join(last))
        packages = json.loads(answer.read_text())["dependencies"]
    versions = dict(pin.split("==") for pin in pins)

    def pin(package: dict[str, str]) -> str:
        name = canonical(package["name"])
        return f"{name}=={versions[name]}"

    return Audit(
        unknown={pin(package) for package in packages if "skip_reason" in package},
        findings=[
            Finding(
                pin(package),
                frozenset([vulnerability["id"], *vulnerability["aliases"]]),
                ", ".join(vulnerability["fix_versions"]),
            )
            for package in packages
            for vulnerability in package.get("vulns", [])
        ],
    )


def main(arguments: Sequence[str]) -> int:
    """The command line; the exit code."""
    options = [one for one in arguments if one != "--lenient"]
    unanswered = 0 if "--lenient" in arguments else 3
    allowed = read_allowed(ALLOWED.read_text(), date.today())
    serving = read_pins(*SERVING)
    pins = serving | read_pins(ALL)
    try:
        found = audit(pins, options)
    except UnreachableError as error:
        print(f"not audited, the database cannot be reached: {error}")
        return unanswered
    refused = False
    known, unknown = len(pins - found.unknown), len(found.unknown)
    print(f"{known} packages audited, {unknown} unknown to the database")
    for finding in found.findings:
        reasons = [allowed[name] for name in sorted(finding.names) if name in allowed]
        serves = finding.pin in serving
        refused = refused or (serves and not reasons)
        print(f"{'serves' if serves else 'does not serve'}: {finding}", *reasons, sep="; allowed: ")
    return 1 if refused else unanswered if found.unknown else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
