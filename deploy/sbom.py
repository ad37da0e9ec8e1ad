"""Write what an image holds as a CycloneDX 1.6 bill of materials, in JSON.

    python deploy/sbom.py --version 0.1.0 --site-packages .venv/lib/python3.11/site-packages \
        --wheels wheels --models models --os-root / --output sbom.cdx.json

Every Python distribution (version, licence, package URL, hash of its wheel where that is
there), every Debian package, and every model that is served, with the hashes of its files. It reads
files alone, and the same image gives the same bill. It runs while the image is built, with
deploy/requirements-sbom.txt, which the image does not get.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import re
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageMetadata, distributions
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

LONGEST_LICENCE_NAME = 80
"""Some distributions put the whole text where the name belongs."""


def canonical(name: str) -> str:
    """A distribution's name as package URLs have it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def sha256(digest: str) -> HashType:
    """A SHA-256 in hexadecimal digits."""
    return HashType(alg=HashAlgorithm.SHA_256, content=digest)


def licences(metadata: PackageMetadata) -> list[License]:
    """What it says of its licence: an SPDX expression, else a name, else classifiers."""
    make = LicenseFactory().make_from_string
    (expression, *_) = metadata.get_all("License-Expression") or [""]
    if expression:
        return [make(expression)]
    (name, *_) = (text.strip() for text in metadata.get_all("License") or [""])
    if name and name != "UNKNOWN" and "\n" not in name and len(name) <= LONGEST_LICENCE_NAME:
        return [make(name)]
    classifiers = metadata.get_all("Classifier") or []
    return [
        make(classifier.rpartition(" :: ")[2])
        for classifier in classifiers
        if classifier.startswith("License :: ") and classifier != "License :: OSI Approved"
    ]


def wheel_hashes(folder: Path) -> dict[tuple[str, str], str]:
    """The SHA-256 of each wheel of a folder by its distribution's name and version."""
    hashes = {}
    for wheel in folder.glob("*.whl"):
        name, version, *_ = wheel.name.split("-")
        hashes[canonical(name), version] = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return hashes


def python_components(
    found: Iterable[Distribution], hashes: dict[tuple[str, str], str]
) -> Iterator[Component]:
    """A component for each Python distribution."""
    for distribution in found:
        name, version = canonical(distribution.name), distribution.version
        yield Component(
            type=ComponentType.LIBRARY,
            bom_ref=f"pypi:{name}",
            name=distribution.name,
            version=version,
            purl=PackageURL("pypi", name=name, version=version),
            licenses=licences(distribution.metadata),
            hashes=[sha256(hashes[name, version])] if (name, version) in hashes else [],
        )


def debian_components(root: Path) -> Iterator[Component]:
    """A component for each package that dpkg has installed below `root`; none without dpkg."""
    status = root / "var/lib/dpkg/status"
    if not status.is_file():
        return
    release = re.search(r"^VERSION_ID=\"?([^\"\n]+)", (root / "etc/os-release").read_text(), re.M)
    for paragraph in status.read_text(encoding="utf-8").split("\n\n"):
        fields = dict(re.findall(r"^([\w-]+): (.*)$", paragraph, flags=re.MULTILINE))
        if not fields.get("Status", "").endswith(" installed"):
            continue
        qualifiers = {"arch": fields["Architecture"]}
        if release:
            qualifiers["distro"] = f"debian-{release[1]}"
        yield Component(
            type=ComponentType.LIBRARY,
            bom_ref=f"deb:{fields['Package']}:{fields['Architecture']}",
            name=fields["Package"],
            version=fields["Version"],
            purl=PackageURL(
                "deb", "debian", fields["Package"], fields["Version"], qualifiers=qualifiers
            ),
        )


def model_components(store: Path) -> Iterator[Component]:
    """A component for each model of a store, of the version that is served."""
    for current in sorted(store.glob("*/CURRENT")):
        folder = current.parent / current.read_text(encoding="utf-8").strip()
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        facts = {
            "kind": manifest["kind"],
            "data": json.dumps(manifest["data"], sort_keys=True),
            "code": manifest["code_revision"],
        } | {
            # The figures that the gate held against its floors; the card has the rest.
            f"metric:{check['metric']}": f"{check['value']:.6g}"
            for check in manifest["gate"]["checks"]
        }
        yield Component(
            type=ComponentType.MACHINE_LEARNING_MODEL,
            bom_ref=f"model:{manifest['name']}",
            name=manifest["name"],
            version=manifest["version"],
            description=manifest["description"],
            hashes=[sha256(manifest["files"][manifest["graph"]]["sha256"])],
            properties=[
                Property(name=f"triptych:{key}", value=facts[key]) for key in sorted(facts)
            ],
            components=[
                Component(
                    type=ComponentType.FILE,
                    bom_ref=f"model:{manifest['name']}:{name}",
                    name=name,
                    hashes=[sha256(file["sha256"])],
                )
                for name, file in sorted(manifest["files"].items())
            ],
        )


def bill(version: str, components: Iterable[Component]) -> str:
    """The whole bill, in JSON; without a time, and with a serial number made of what it lists."""
    bom = Bom(components=[*components, interpreter()])
    bom.metadata.component = Component(
        type=ComponentType.CONTAINER, bom_ref="triptych", name="triptych", version=version
    )
    bom.register_dependency(bom.metadata.component, bom.components)
    written = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string()
    content = json.loads(written)
    del content["metadata"]["timestamp"], content["serialNumber"]
    serial = uuid5(NAMESPACE_URL, json.dumps(content))
    return json.dumps(content | {"serialNumber": serial.urn}, indent=1) + "\n"


def interpreter() -> Component:
    """The Python that runs this, which is the base image's."""
    return Component(
        type=ComponentType.APPLICATION,
        bom_ref="cpython",
        name="cpython",
        version=platform.python_version(),
        licenses=[LicenseFactory().make_from_string("Python-2.0")],
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="write an image's bill of materials")
    parser.add_argument("--version", required=True, help="of the image")
    parser.add_argument("--site-packages", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True, help="the store in the image")
    parser.add_argument("--os-root", type=Path, help="root of the Debian that the image is made of")
    parser.add_argument("--wheels", type=Path, help="folder of what was installed")
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    hashes = wheel_hashes(asked.wheels) if asked.wheels else {}
    components = [
        *python_components(distributions(path=[str(asked.site_packages)]), hashes),
        *(debian_components(asked.os_root) if asked.os_root else ()),
        *model_components(asked.models),
    ]
    asked.output.write_text(bill(asked.version, components), encoding="utf-8")


if __name__ == "__main__":
    main()
