"""The bill of materials: valid CycloneDX, and no more and no less than what it was made of."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement

from deploy.check_sbom import listed, pins
from tests.deploy.conftest import DEPLOY

STATUS = """Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u10
Description: GNU C Library
 Version: 1 is said in a description

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0
"""


@pytest.fixture(scope="module")
def made(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what an image has: what deploy/requirements.txt names, as far as it is
    installed here; a Debian; the models; and the bill that was made of them."""
    folder = tmp_path_factory.mktemp("image")
    packages = folder / "site-packages"
    packages.mkdir()
    for line in (DEPLOY / "requirements.txt").read_text().splitlines():
        # The metadata alone: that is all that is read.
        metadata = Path(str(distribution(Requirement(line).name)._path))  # type: ignore[attr-defined]
        (packages / metadata.name).symlink_to(metadata)
    (folder / "var/lib/dpkg").mkdir(parents=True)
    (folder / "var/lib/dpkg/status").write_text(STATUS)
    (folder / "etc").mkdir()
    (folder / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\n')
    (folder / "wheels").mkdir()
    version = distribution("prometheus_client").version
    for built in (version, "0.0.1"):
        wheel = folder / "wheels" / f"prometheus_client-{built}-py3-none-any.whl"
        wheel.write_bytes(built.encode())
    write(folder, store, "sbom.json")
    return folder


def write(folder: Path, store: Path, name: str) -> None:
    subprocess.run(
        [
            *(sys.executable, "-W", "error", DEPLOY / "sbom.py", "--version", "1.2.3"),
            *("--site-packages", folder / "site-packages", "--models", store),
            *("--os-root", folder, "--wheels", folder / "wheels"),
            *("--output", folder / name),
        ],
        check=True,
    )


@pytest.fixture(scope="module")
def bill(made: Path) -> Any:
    return json.loads((made / "sbom.json").read_text())


def component(bill: Any, name: str) -> Any:
    (found,) = (each for each in bill["components"] if each["name"] == name)
    return found


def test_it_is_valid(made: Path) -> None:
    text = (made / "sbom.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    broken = text.replace('"type": "library"', '"type": "bookshop"')
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(broken) is not None


def test_it_lists_what_is_locked_and_no_more(made: Path) -> None:
    bill = (made / "sbom.json").read_text()
    assert listed(bill) == pins((DEPLOY / "requirements.txt").read_text())


def test_the_same_image_gives_the_same_bill(made: Path, store: Path) -> None:
    write(made, store, "again.json")
    assert (made / "again.json").read_bytes() == (made / "sbom.json").read_bytes()


def test_distributions_have_licences_and_hashes(bill: Any) -> None:
    ours = [one for one in bill["components"] if one.get("purl", "").startswith("pkg:pypi/")]
    assert [one["name"] for one in ours if not one.get("licenses")] == []
    client = component(bill, "prometheus_client")
    digest = hashlib.sha256(client["version"].encode()).hexdigest()
    assert client["hashes"] == [{"alg": "SHA-256", "content": digest}]


def test_debian_packages(bill: Any) -> None:
    found = [one for one in bill["components"] if one.get("purl", "").startswith("pkg:deb/")]
    (libc,) = found
    assert libc["version"] == "2.36-9+deb12u10"
    assert libc["purl"] == "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12"


def test_models(bill: Any, store: Path) -> None:
    served = {path.parent.name: path.read_text().strip() for path in store.glob("*/CURRENT")}
    models = [one for one in bill["components"] if one["type"] == "machine-learning-model"]
    assert {one["name"]: one["version"] for one in models} == served
    for one in models:
        folder = store / one["name"] / one["version"]
        manifest = json.loads((folder / "manifest.json").read_text())
        (served_graph,) = one["hashes"]
        assert served_graph["content"] == manifest["files"][manifest["graph"]]["sha256"]
        assert {file["name"] for file in one["components"]} == set(manifest["files"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("idna==", "idma=="), "in the bill, but not in"),
        (("\nanyio==", "\nextra==1\nanyio=="), "not in the bill, but in"),
    ],
)
def test_the_check_names_what_differs(
    made: Path, tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    right = DEPLOY / "requirements.txt"
    wrong = tmp_path / "wrong.txt"
    wrong.write_text(right.read_text().replace(*change))
    for path, code in ((right, 0), (wrong, 1)):
        done = subprocess.run(
            [sys.executable, DEPLOY / "check_sbom.py", made / "sbom.json", path],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout
    assert said in done.stdout
